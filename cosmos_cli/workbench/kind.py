"""What a family tells the workbench of its commands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cosmos_cli import output, registry
from cosmos_cli.errors import CosmosError, InputError, Problem
from cosmos_cli.import_strings import resolve
from cosmos_cli.request_options import FileOption, describe_options, request_file
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


SAMPLING = (Field("num_steps", slider=(1, 60)), Field("guidance", slider=(0, 12)), Field("seed"))
"""Fields that nearly every request has."""


def seldom(*names: str) -> tuple[Field, ...]:
    """Fields that are shown to who asks for more."""
    return tuple(Field(name, is_usual=False) for name in names)


@dataclass(frozen=True)
class Clip:
    """The field of a request that names its input.

    is_needed: whether nothing can be made without one. takes_pictures: whether a picture is as good as a video.
    """

    field: str
    is_needed: bool = True
    takes_pictures: bool = False


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
        help: what it makes, a sentence.
        models: of a request and of its settings.
        clip: its input; None if it has none.
        fields: what the page shows beside clip and controls, in order.
        shows: what of a result is looked at, by its name in the document of `--json`.
        makes_picture: whether that is a picture.
        weights_note: what becomes of weights that sum to more than 1, a sentence; empty if nothing does.
    """

    command: ClassVar[tuple[str, ...]]
    help: ClassVar[str]
    models: ClassVar[tuple[type[StrictModel], ...]]
    clip: ClassVar[Clip | None] = None
    fields: ClassVar[Sequence[Field]]
    shows: ClassVar[str] = "video"
    makes_picture: ClassVar[bool] = False
    weights_note: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """What page, server and queue call it."""
        return " ".join(self.command)

    @property
    def spec(self) -> FileOption:
        """The option whose file holds what the page asks for.

        An object in it is a control under its name, with `control_weight`, `control_weight_prompt` and
        `input_control_prompt`.
        """
        return request_file(self.models)

    @abstractmethod
    def inputs(self) -> Inputs:
        """The kind's module of that name."""

    def controls(self) -> Sequence[Control]:
        """Those that can be computed here out of a clip."""
        return ()

    def look(self, settings: Any, request: Any) -> Mapping[str, Path]:
        """Make the control videos of a request, and their weight maps, in its output folder.

        Returns:
            "control:<name>" to a control video, "weight:<name>" to the picture of a weight map made here.
        Raises:
            InputError, CheckpointError: as the command that looks at controls.
        """
        return {}

    def preview(self, pipeline: Any, step: Step) -> np.ndarray | None:
        """The frames that a denoising step predicts, (F, H, W, 3) uint8; None if they cannot be had cheaply."""
        from cosmos_cli.generation.x0_frames import x0_frames

        return x0_frames(pipeline.models, step)

    def loaded_for(self, request: Any) -> Sequence[str]:
        """What of a request decides which networks are loaded, beside the settings."""
        return ()

    def outputs(self, folder: Path) -> dict[str, Any]:
        """Fields that have the result written into a folder."""
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
        properties = json_schema(*self.models)["properties"]
        defaults = {described.names[0]: described.default for described in describe_options(*self.models)}
        controls = self.controls()
        of_controls = [name for control in controls for name in control.fields]
        return {
            "family": self.command[0],
            "help": self.help,
            "clip": None if self.clip is None else asdict(self.clip),
            "weights_note": self.weights_note,
            "fields": [
                {
                    "name": field.name,
                    "slider": field.slider,
                    "usual": field.is_usual,
                    # where the schema's own default, which is none, says too little
                    "default": defaults[option_name(field.name)] if _is_open(properties[field.name]) else None,
                }
                for field in self.fields
            ],
            "controls": [asdict(control) for control in controls],
            "schema": {name: properties[name] for name in (*(field.name for field in self.fields), *of_controls)},
        }

    def offered(self) -> frozenset[str]:
        """Entries that the page may put into a specification."""
        controls = self.controls()
        clip = () if self.clip is None else (self.clip.field,)
        own = (*clip, *(field.name for field in self.fields), *(control.name for control in controls))
        return frozenset((*own, *(name for control in controls for name in control.fields)))

    def check_whole(self, asked: Mapping[str, Any]) -> None:
        """Raises InputError: what the page cannot leave out is missing, all of it at once."""
        problems = []
        if self.clip is not None and self.clip.is_needed and not asked.get(self.clip.field):
            what = "No picture or clip is chosen." if self.clip.takes_pictures else "No clip is chosen."
            problems.append(Problem(what, fix="Choose one on the page."))
        controls = self.controls()
        if controls and not any(control.name in asked for control in controls):
            problems.append(
                Problem("No control takes part.", fix="Give one a weight above 0, or paint where it counts.")
            )
        if problems:
            raise InputError.from_problems(problems)


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether a field has no value of its own."""
    return schema.get("default") is None


def kinds() -> dict[str, Kind]:
    """All that the workbench shows, by name; what cannot be loaded costs its family alone, and is noticed."""
    found: dict[str, Kind] = {}
    for family in registry.current().families.values():
        if family.workbench is None:
            continue
        try:
            brought = resolve(family.workbench, needed_by=f"plugin {family.plugin}")
        except CosmosError as error:
            output.notice(f"{family.name} is not in the workbench: {error}")
            continue
        for kind in [brought] if isinstance(brought, Kind) else brought:
            found[kind.name] = kind
    return found
