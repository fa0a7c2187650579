"""Meta prompts: scenes summed up in a sentence each, out of a user's file or as a chat model has thought of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json, read_text
from cosmos_cli.files.missing import exists
from cosmos_cli.files.writing import write_json
from cosmos_cli.models.prompt_length import check_prompt_length
from cosmos_cli.requests import shortened
from cosmos_plugins.transfer1.prompts.writing import one_line, without_repetitions

_NUM_NAMED = 20
_ANEW = "Pass --overwrite to begin anew, or choose another --save-path."


def read_meta_prompts(path: Path) -> list[str]:
    """The meta prompts of a file, each once: one a line; as .json a list, or an object whose keys they are.

    Raises:
        InputError: all that is wrong with it.
    """
    texts = _texts(path)
    problems: list[Problem] = []
    meta_prompts: list[str] = []
    for place, given in texts:
        try:
            if not isinstance(given, str):
                raise ValueError("is no text.")
            text = one_line(given)
            check_prompt_length(text, where=place)
            meta_prompts.append(text)
        except ValueError as error:
            problems.append(Problem(str(error), place, "Give a short text."))
        except InputError as error:
            problems += error.problems
    if more := problems[_NUM_NAMED:]:
        problems[_NUM_NAMED:] = [Problem(f"and {len(more)} more problems of the kind.", str(path))]
    if problems:
        raise InputError.from_problems(problems)
    if not meta_prompts:
        raise InputError("holds no meta prompts.", where=str(path), fix="Write one a line.")
    different = without_repetitions(meta_prompts)
    if len(different) < len(meta_prompts):
        repeated = shortened(_first_repeated(meta_prompts))
        num_more = len(meta_prompts) - len(different)
        output.notice(f"{path} holds {num_more} meta prompts again, which are used once, such as {repeated!r}")
    return different


def _texts(path: Path) -> list[tuple[str, Any]]:
    """What the file holds, each with its place."""
    if path.suffix.lower() != ".json":
        lines = enumerate(read_text(path, from_pipes=True).splitlines(), start=1)
        return [(f"{path} line {number}", line) for number, line in lines if line.strip()]
    document = read_json(path)
    if isinstance(document, dict):
        listed = document.get("meta_prompts")
        document = listed if isinstance(listed, list) else list(document)
    if not isinstance(document, list):
        raise InputError("is no list of meta prompts.", where=str(path), fix='Give ["...", "..."], or one a line.')
    return [(f"{path} entry {number}", item) for number, item in enumerate(document, start=1)]


def _first_repeated(texts: list[str]) -> str:
    seen: set[str] = set()
    return next(text for text in texts if text.casefold() in seen or seen.add(text.casefold()))  # type: ignore[func-returns-value]


def written_path(save_path: Path) -> Path:
    """Where the meta prompts are kept that a chat model has thought of: beside the prompts, to go on with."""
    return save_path.with_name(f"{save_path.stem}.meta.json")


def read_written(path: Path, scene: str, seed: int) -> list[str]:
    """The meta prompts that an earlier run has kept; none if there was none.

    Raises:
        InputError: they were written about another scene or with another seed, or the file is damaged.
    """
    if not exists(path):
        return []
    document = read_json(path, fix=_ANEW)
    if not isinstance(document, dict) or not isinstance(document.get("meta_prompts"), list):
        raise InputError("holds no meta prompts of an earlier run.", where=str(path), fix=_ANEW)
    for name, value in (("scene", scene), ("seed", seed)):
        if document.get(name) != value:
            earlier = shortened(repr(document.get(name)))
            raise InputError(f"holds meta prompts for the {name} {earlier}, not {value!r}.", where=str(path), fix=_ANEW)
    return read_meta_prompts(path) if document["meta_prompts"] else []


def keep_written(path: Path, scene: str, seed: int, meta_prompts: list[str]) -> None:
    write_json(path, {"scene": scene, "seed": seed, "meta_prompts": meta_prompts})
