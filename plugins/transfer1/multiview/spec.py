"""The control specification for several cameras: a JSON file with a list of control videos per modality."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.request_options import FileOption
from cosmos_cli.requests import option_name, shortened, validate, without_misplaced
from cosmos_cli.settings import Planning
from cosmos_plugins.transfer1.multiview.requests import MultiviewControl, MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import CONTROLS
from cosmos_plugins.transfer1.spec import beside_spec

_PATHS = ("view_condition_video", "initial_condition_video")
_FIELDS = {*MultiviewRequest.model_fields, *MultiviewSettings.model_fields} - {"controls"}
_NOT_OF_A_CONTROL = dict.fromkeys(_FIELDS, "at the top level of the specification")
_NOT_OF_A_SPEC = {
    **dict.fromkeys(set(MultiviewControl.model_fields) - _FIELDS, "into the object of a control"),
    **{name: f"on the command line: {option_name(name)}" for name in Planning.model_fields},
}


def read_multiview_spec(path: Path) -> dict[str, Any]:
    """Field values of a request out of a control specification.

    Entries named after a modality are controls; every other is a field of the request or the settings. Relative paths
    of videos are looked up in the working folder, as the originals do, and then beside the specification. A field that
    belongs elsewhere is left out with a notice.

    Raises:
        InputError: the file is not JSON, or names fields or modalities that do not exist: all of them at once.
    """
    document = read_json(path, from_pipes=True)
    if not isinstance(document, dict):
        raise InputError("must hold one JSON object.", where=str(path))
    document = without_misplaced(document, _NOT_OF_A_SPEC, str(path))
    values: dict[str, Any] = {}
    controls: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in document.items():
        if name in CONTROLS:
            try:
                controls[name] = _control(value, path, name)
            except InputError as error:
                problems += error.problems
        elif name in _FIELDS:
            values[name] = _find(value, path.parent) if name in _PATHS else value
        else:
            name = shortened(name)
            near = difflib.get_close_matches(name, [*sorted(_FIELDS), *CONTROLS], n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known modalities: {', '.join(CONTROLS)}."
            problems.append(Problem(f"Unknown entry {name!r}.", str(path), hint))
    if problems:
        raise InputError.from_problems(problems)
    if not controls:
        raise InputError("holds no control.", where=str(path), fix=f"Add at least one of: {', '.join(CONTROLS)}.")
    return {**values, "controls": controls}


def _control(value: Any, path: Path, name: str) -> MultiviewControl:
    where = f"{path}, {name}"
    if not isinstance(value, dict):
        raise InputError('must be an object, such as {"input_control": ["front.mp4", ...]}.', where=where)
    value = without_misplaced(value, _NOT_OF_A_CONTROL, where)
    videos = value.get("input_control")
    if isinstance(videos, list):
        value = {**value, "input_control": [_find(video, path.parent) for video in videos]}
    [control] = validate([MultiviewControl], value, where=where)
    assert isinstance(control, MultiviewControl)
    return control


def _find(video: Any, folder: Path) -> Any:
    return beside_spec(video, folder) if isinstance(video, str) else video


MULTIVIEW_SPECS = FileOption(
    "--controlnet-specs",
    "Control specification, a JSON file: which modalities control the videos, with one video per camera.",
    read_multiview_spec,
)
"""The option of `cosmos transfer multiview` that reads one."""
