"""What decides what a video shows: equal for equal work, wherever its files lie. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cosmos_cli.files.identity import fingerprint
from cosmos_cli.media.source import GivenFrames, Source, digest_of, is_there
from cosmos_cli.requests import StrictModel


def describe_work(*instances: StrictModel, without: Collection[str]) -> dict[str, Any]:
    """The fields that decide what is shown, by name. Of a file it only says that there is one: its content counts.

    Args:
        without: fields that do not.
    """
    return {name: _plain(value) for each in instances for name, value in each if name not in without}


def _plain(value: Any) -> Any:
    if isinstance(value, Path | GivenFrames):
        return "a file"
    if isinstance(value, BaseModel):
        return {name: _plain(part) for name, part in value}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def work_key(document: Mapping[str, Any], inputs: Iterable[Source], weights: Mapping[str, Path] | None = None) -> str:
    """A name for a piece of work: equal for equal requests on equal inputs and weights.

    Args:
        document: the request with its settings, without what does not change the outcome, see `describe_work`.
        inputs: files that it reads; their content counts, not their place in time.
        weights: files and folders by name; what they are counts, not where they lie.
    """
    described = {
        "request": document,
        "inputs": [digest_of(source) for source in inputs if is_there(source)],
        **({} if weights is None else {"weights": {name: fingerprint(path) for name, path in weights.items()}}),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()
