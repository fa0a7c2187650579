"""What a family tells the workbench of one of its commands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cosmos_cli import registry
from cosmos_cli.import_strings import resolve
from cosmos_cli.request_options import FileOption, describe_options
from cosmos_cli.requests import StrictModel, json_schema, option_name, validate

if TYPE_CHECKING:
    import numpy as np

    from cosmos_cli.generation.pipeline import Inputs
    from cosmos_cli.generation.steps import Step

# F frames, H and W pixel height and width


@dataclass(frozen=True)
class Field:
    """A field of the request or the settings that the page shows.

    slider: the range that is useful to slide over; None where the field is no number, or any number is as good.
    is_usual: whether it is shown without asking for more.
    """

    name: str
    slider: tuple[float, float] | None = None
    is_usual: bool = True


@dataclass(frozen=True)
class Control:
    """A control that the page shows beside the clip.

    weight: what its slider begins at.
    fields: of the request, that say how it is computed.
    shows_objects: whether a text of its own says what it shows.
    """

    name: str
    help: str
    weight: float = 0.0
    fields: tuple[str, ...] = ()
    shows_objects: bool = False


class Kind(ABC):
    """One command, as the workbench shows and calls it.

    Attributes:
        command: behind `cosmos`.
        models: of a request and of its settings.
        spec: the option whose file holds what the page asks for. An object in it is a control under its name, with
            `control_weight`, `control_weight_prompt` and `input_control_prompt`.
        clip: field that names the input video.
        fields: what the page shows beside clip and controls, in order.
        weights_note: what becomes of weights that sum to more than 1, a sentence; empty if nothing does.
    """

    command: ClassVar[tuple[str, ...]]
    models: ClassVar[tuple[type[StrictModel], ...]]
    spec: ClassVar[FileOption]
    clip: ClassVar[str]
    fields: ClassVar[Sequence[Field]]
    weights_note: ClassVar[str] = ""

    @abstractmethod
    def controls(self) -> Sequence[Control]:
        """Those that can be computed here out of a clip."""

    @abstractmethod
    def inputs(self) -> Inputs:
        """The kind's module of that name."""

    @abstractmethod
    def look(self, settings: Any, request: Any) -> Mapping[str, Path]:
        """Make the control videos of a request, and their weight maps, in its output folder.

        Returns:
            "control:<name>" to a control video, "weight:<name>" to the picture of a weight map made here.
        Raises:
            InputError, CheckpointError: as the command that looks at controls.
        """

    @abstractmethod
    def preview(self, pipeline: Any, step: Step) -> np.ndarray | None:
        """The frames that a denoising step predicts, (F, H, W, 3) uint8; None if they cannot be had cheaply."""

    def loaded_for(self, request: Any) -> Sequence[str]:
        """What of a request decides which networks are loaded, beside the settings."""
        return ()

    def outputs(self, folder: Path) -> dict[str, Any]:
        """Fields that have a video written into a folder."""
        return {"video_save_folder": folder, "video_save_name": "output"}

    def read(self, spec: Path, options: Mapping[str, Any]) -> tuple[Any, Any]:
        """The request and its settings, as the command reads them.

        Args:
            spec: the file.
            options: what is given beside it, by field.
        Raises:
            InputError: all that is wrong with them.
        """
        request, settings = validate(self.models, self.spec.read(spec) | dict(options), name_of=option_name)
        return request, settings

    def line(self, spec: Path, options: Mapping[str, Any]) -> list[str]:
        """The command line, word by word, that reads the same."""
        words = ["cosmos", *self.command, self.spec.name, str(spec)]
        for name, value in options.items():
            words += [option_name(name)] if value is True else [option_name(name), str(value)]
        return [*words, "--numbered"]

    def about(self) -> dict[str, Any]:
        """What the page is built from."""
        schema = json_schema(*self.models)
        properties = schema["properties"]
        defaults = {described.names[0]: described.default for described in describe_options(*self.models)}
        of_controls = [name for control in self.controls() for name in control.fields]
        return {
            "command": " ".join(self.command),
            "clip": self.clip,
            "weights_note": self.weights_note,
            "fields": [
                {
                    "name": field.name,
                    "slider": field.slider,
                    "usual": field.is_usual,
                    # where the schema's own default, which is none, says too little
                    "default": None if properties[field.name].get("default") else defaults[option_name(field.name)],
                }
                for field in self.fields
            ],
            "controls": [
                {
                    "name": control.name,
                    "help": control.help,
                    "weight": control.weight,
                    "fields": control.fields,
                    "shows_objects": control.shows_objects,
                }
                for control in self.controls()
            ],
            "schema": {name: properties[name] for name in (*(field.name for field in self.fields), *of_controls)},
        }

    def offered(self) -> frozenset[str]:
        """Entries that the page may put into a specification."""
        controls = self.controls()
        own = (self.clip, *(field.name for field in self.fields), *(control.name for control in controls))
        return frozenset((*own, *(name for control in controls for name in control.fields)))


def kinds() -> dict[str, Kind]:
    """Family to the kind that it shows in the workbench."""
    found = registry.current().families.values()
    return {
        family.name: resolve(family.workbench, needed_by=f"plugin {family.plugin}")
        for family in found
        if family.workbench is not None
    }
