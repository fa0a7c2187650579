"""Controls on the command line, without a specification: `--edge 0.5 --seg-video seg.mp4`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosmos_cli import registry
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.help import CONTROLS, Panel
from cosmos_cli.registered import ControlModality
from cosmos_cli.request_options import OptionDescription, OptionGroup
from cosmos_cli.requests import option_name, validate
from cosmos_cli.settings import Planning
from cosmos_plugins.transfer1.requests import BatchFile, BatchInput, ControlSpec, TransferRequest, TransferSettings

_WEIGHT = 1.0
"""Of a control that is named without a number."""

_OPTIONS = {
    "": ("control_weight", "[NUMBER]", ""),
    "_weight_map": (
        "control_weight",
        "PATH",
        "File with the weight of {} at each place and time, in place of a number.",
    ),
    "_video": ("input_control", "PATH", "Control video of {}."),
    "_prompt": ("control_weight_prompt", "TEXT", "Objects to which {} is confined, found in the input video."),
    "_objects": ("input_control_prompt", "TEXT", "Objects that {} shows; the prompt by default."),
    "_checkpoint": ("ckpt_path", "PATH", "Weights of the control branch of {} in place of the published ones."),
}
"""What follows the name of a control, to the key of its object in a specification, the values, and the help."""

_TAKEN = {
    *(name for model in (TransferRequest, TransferSettings, BatchInput, BatchFile) for name in model.model_fields),
    *(*Planning.model_fields, "controlnet_specs", "from_file", "schema", "json", "help", "help_all"),
}


def _named() -> dict[str, tuple[ControlModality, str]]:
    """Name of an option, with underscores, to the control that it belongs to and what follows that one's name.

    Where the name means something else already, the control is left to specifications.
    """
    found: dict[str, tuple[ControlModality, str]] = {}
    of_transfer = registry.current().families["transfer"].plugin
    for name, modality in registry.current().controls.items():
        for suffix in _OPTIONS:
            option = name.replace("-", "_") + suffix
            shows_objects = name == "seg" or modality.plugin != of_transfer
            if option not in _TAKEN and (suffix != "_objects" or shows_objects):
                found.setdefault(option, (modality, suffix))
    return found


def _describe() -> Iterator[tuple[OptionDescription, Panel]]:
    for name, (modality, suffix) in _named().items():
        _, values, text = _OPTIONS[suffix]
        # those that work on any video, with nothing else to install or to say
        is_usual = not suffix and modality.factory is not None and not modality.upscales and modality.needs is None
        described = OptionDescription((option_name(name),), values, text.format(modality.name) or modality.help)
        yield described, Panel(CONTROLS, is_usual=is_usual)


def _merge(given: Mapping[str, str], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The controls of a request: those of its files, with each key that an option gives.

    Raises:
        InputError: all that is wrong with the options, or there is no control at all.
    """
    known = values.get("controls") or {}
    if not isinstance(known, Mapping):  # told where all fields are
        return known
    named = _named()
    changes: dict[str, dict[str, str]] = {}
    options: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    for name, text in given.items():
        modality, suffix = named[name]
        key = _OPTIONS[suffix][0]
        if (other := options.get((modality.name, key))) is not None:
            problems.append(Problem(f"does not go with {option_name(other)}.", option_name(name), "Give one of them."))
        options[modality.name, key] = name
        changes.setdefault(modality.name, {})[key] = text
    merged = dict(known)
    for control, texts in changes.items():
        try:
            merged[control] = _changed(
                known.get(control), texts, {key: name for (of, key), name in options.items() if of == control}
            )
        except InputError as error:
            problems += error.problems
    if not merged and not problems:
        problems.append(
            Problem(
                "no control is given.", "--controlnet-specs", "Pass a control, such as --edge 0.5, or a file of them."
            )
        )
    if problems:
        raise InputError.from_problems(problems)
    return merged


def _changed(known: Any, texts: Mapping[str, str], options: Mapping[str, str]) -> Any:
    [given] = validate([ControlSpec], texts, name_of=lambda key: option_name(options[key]))
    changes = {key: getattr(given, key) for key in texts}
    if known is None:
        return ControlSpec(**{"control_weight": _WEIGHT, **changes})
    return {**known, **changes} if isinstance(known, Mapping) else known.model_copy(update=changes)


CONTROL_OPTIONS = OptionGroup("controls", _describe, _merge)
"""An option for each control that is installed, and for each key of its object in a specification."""
