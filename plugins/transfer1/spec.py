"""The control specification: one JSON file that says which modalities control the video, and how strongly."""

from __future__ import annotations

import difflib
import functools
import shlex
from pathlib import Path
from typing import Any

from cosmos_cli import registry
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.missing import exists
from cosmos_cli.files.paths import given_anywhere
from cosmos_cli.request_options import FileOption
from cosmos_cli.requests import StrictModel, option_name, shortened, validate, without_misplaced
from cosmos_cli.settings import Planning
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.regional_prompts import RegionalPrompt
from cosmos_plugins.transfer1.requests import BatchInput, ControlSpec, TransferRequest, TransferSettings

_PATHS = ("input_control", "control_weight", "region_definitions_path")
_FIELDS = {*TransferRequest.model_fields, *TransferSettings.model_fields} - {"controls"}
_OF_MULTIVIEW = {*MultiviewRequest.model_fields, *MultiviewSettings.model_fields} - _FIELDS - {"controls"}

_NOT_OF_A_CONTROL = dict.fromkeys(_FIELDS, "at the top level of the specification")
"""Field to where it belongs, in place of the object of a control."""
_NOT_OF_A_SPEC = {
    **dict.fromkeys(set(ControlSpec.model_fields) - _FIELDS, "into the object of a control"),
    **{
        name: f"on the command line: {option_name(name)}" for name in (*BatchInput.model_fields, *Planning.model_fields)
    },
}


def read_spec(path: Path, *, needs_control: bool = True) -> dict[str, Any]:
    """Field values of a request out of a control specification.

    Every object in the file is a control under the name of its modality, in an order that is kept; every other entry
    is a field of the request or the settings. Relative paths are looked up in the working folder, as the originals do,
    and then beside the specification. A field that belongs elsewhere is left out with a notice.

    Args:
        needs_control: whether a control must be there; else there may be none among the values.
    Raises:
        InputError: the file is not JSON, is for several cameras, or names fields or modalities that do not exist: all
            of them at once.
    """
    document = read_json(path, from_pipes=True)
    if not isinstance(document, dict):
        raise InputError("must hold one JSON object.", where=str(path))
    _refuse_multiview(document, path)
    document = without_misplaced(document, _NOT_OF_A_SPEC, str(path))
    modalities = sorted(registry.current().controls)
    values: dict[str, Any] = {}
    controls: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in document.items():
        if name in modalities and isinstance(value, dict):
            try:
                controls[name] = as_control(_found(value, path.parent), f"{path}, {name}")
            except InputError as error:
                problems += error.problems
        elif name in modalities:
            problems.append(
                Problem("must be an object, such as {}.".format('{"control_weight": 0.5}'), f"{path}, {name}")
            )
        elif name == "regional_prompts":
            try:
                values[name] = _regions(value, path)
            except InputError as error:
                problems += error.problems
        elif name in _FIELDS:
            values[name] = value
        else:
            problems.append(_unknown(name, isinstance(value, dict), modalities, sorted(_FIELDS), path))
    if problems:
        raise InputError.from_problems(problems)
    if needs_control and not controls:
        raise InputError("holds no control.", where=str(path), fix=f"Add at least one of: {', '.join(modalities)}.")
    if isinstance(values.get("input_video_path"), str):
        values["input_video_path"] = beside_spec(values["input_video_path"], path.parent)
    return {**values, "controls": controls} if controls else values


def as_control(value: dict[str, Any], where: str) -> ControlSpec:
    """The object of a control, without fields that belong elsewhere. Raises InputError for all that is wrong."""
    [control] = validate([ControlSpec], without_misplaced(value, _NOT_OF_A_CONTROL, where), where=where)
    assert isinstance(control, ControlSpec)
    return control


def _refuse_multiview(document: dict[str, Any], path: Path) -> None:
    """Raises InputError if it has what only a specification for several cameras has."""
    entries = (f"{name}, input_control" for name, value in document.items() if _has_several_videos(value))
    for name in (*(name for name in document if name in _OF_MULTIVIEW), *entries):
        raise InputError(
            "is what a specification for several cameras has.",
            where=f"{path}, {name}",
            fix=f"cosmos transfer multiview --controlnet-specs {shlex.quote(str(path))}",
        )


def _has_several_videos(control: object) -> bool:
    return isinstance(control, dict) and isinstance(control.get("input_control"), list)


def _regions(value: object, path: Path) -> list[StrictModel]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InputError("must be a list of objects.", where=f"{path}, regional_prompts")
    regions, problems = [], []
    for number, entry in enumerate(value, start=1):
        try:
            regions += validate(
                [RegionalPrompt], _found(entry, path.parent), where=f"{path}, regional_prompts {number}"
            )
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.from_problems(problems)
    return regions


def _unknown(name: str, is_object: bool, modalities: list[str], fields: list[str], path: Path) -> Problem:
    known = modalities if is_object else [*fields, *modalities]
    kind = "modality" if is_object else "field"
    name = shortened(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known modalities: {', '.join(modalities)}."
    return Problem(f"Unknown {kind} {name!r}.", str(path), hint)


def _found(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A control or a region with its relative paths looked up."""
    return {k: beside_spec(v, folder) if k in _PATHS and _is_path(v) else v for k, v in entry.items()}


def _is_path(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def beside_spec(text: str, folder: Path) -> str:
    """A path as it is if it leads somewhere, else beside the specification; what is none is left to the request."""
    try:
        is_there, beside = exists(given_anywhere(text)), given_anywhere(folder / text)
    except ValueError:
        return text
    return str(beside) if not is_there and exists(beside) else text


CONTROLNET_SPECS = FileOption(
    "--controlnet-specs",
    "Control specification, a JSON file: which modalities control the video, and how.",
    functools.partial(read_spec, needs_control=False),
)
