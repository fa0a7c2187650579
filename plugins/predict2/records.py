"""What is told about a generation: on stderr before it, and in the sidecar after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import output
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.requests import StrictModel, request_document
from cosmos_cli.runtime import provenance
from cosmos_cli.runtime.files import write_json
from cosmos_plugins.predict2.settings import RunSettings

if TYPE_CHECKING:
    from cosmos_plugins.predict2.networks import Loaded


def say_what_does_not_run(settings: RunSettings, guardrails: Guardrails, *, shows: str) -> list[str]:
    """Name the stages that do not take part, and why; the user must not believe otherwise.

    Args:
        shows: what the tiny model makes, such as "the picture shows noise".
    """
    not_run = []
    if guardrails.gap:
        not_run.append(guardrails.gap)
    for line in not_run:
        output.notice(line)
    if settings.model_size == "tiny":
        output.notice(f"the tiny model has random weights: {shows}")
    return not_run


def write_sidecar(
    path: Path,
    command: str,
    settings: RunSettings,
    request: StrictModel,
    loaded: Loaded[Any],
    *,
    result: Mapping[str, Any],
    weights: Mapping[str, Path],
    compared: Mapping[str, Any],
) -> None:
    """Write how something was made; `--from-file` makes it again from the part under "request".

    Of several processes that made it together, one writes.

    Args:
        compared: what was planned beside what it took, see `Watch.finish`; empty if nothing was planned.
    """
    if not loaded.team.is_writer:
        return
    document = {
        "command": command,
        # to make something again must not mean to replace it
        "request": request_document(settings, request.model_copy(update={"overwrite": False})),
        "result": dict(result),
        "checked_by": loaded.guardrails.names,
        "notices": output.notices(),
        "weights": provenance.weights(weights),
        "environment": provenance.environment(loaded.device, loaded.dtype),
        "parallel": str(loaded.team.layout),
        **compared,
    }
    write_json(path, document)
