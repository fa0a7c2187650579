"""Weight maps that keep a robot as it is and let the scene around it become another, out of segmented clips.

Each example is a folder: `input_video.mp4`; its segmentation as `segmentation.mp4` and, without loss, as
`segmentation/*_<number>.png`; and `segmentation_label/*_<number>.json`, which name the class of every colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError, report_together
from cosmos_cli.files.outputs import check_writable, making
from cosmos_cli.requests import Flag, StrictModel
from cosmos_plugins.transfer1.robot_examples import Example, Strengths

Setting = Literal["fg_vis_edge_bg_seg", "fg_edge_bg_seg", "setting1", "setting2"]

_NOWHERE, _ROBOT, _SCENE = Strengths(0, 0), Strengths(1, 0), Strengths(0, 1)
_KEEP_LOOK = {"depth": _NOWHERE, "vis": _ROBOT, "edge": _ROBOT, "seg": _SCENE}
_KEEP_OUTLINE = {**_KEEP_LOOK, "vis": _NOWHERE}
STRENGTHS: Mapping[Setting, Mapping[str, Strengths]] = {
    "fg_vis_edge_bg_seg": _KEEP_LOOK,
    "fg_edge_bg_seg": _KEEP_OUTLINE,
    "setting1": _KEEP_LOOK,
    "setting2": _KEEP_OUTLINE,
}
"""Setting to what each control weighs.

Source: cosmos-transfer1, auxiliary/robot_augmentation (behaviour)."""


class RobotWeightsRequest(StrictModel):
    """Weight maps for a folder of examples."""

    input_dir: Path
    """Folder of example folders."""
    output_dir: Path = Path("outputs/robot_augmentation_example")
    """Folder for the weight maps and the specification of each example."""
    setting: Setting = "fg_vis_edge_bg_seg"
    """What is kept of the robot: colours and edges (setting1), or edges alone (fg_edge_bg_seg, setting2)."""
    robot_keywords: Annotated[tuple[str, ...], Flag(default="world_robot gripper robot")] = Field(
        default=("world_robot", "gripper", "robot"), min_length=1
    )
    """Words, in quotes, of which a class name must hold one to be part of the robot."""
    overwrite: bool = False
    """Replace existing files."""

    @field_validator("robot_keywords", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        if isinstance(words, list | tuple) and not all(words):
            raise ValueError("an empty word would make everything part of the robot.")
        return words


@dataclass(frozen=True)
class ExampleOutcome:
    """What became of one example.

    spec: the specification that was written, for `--controlnet-specs`.
    robot_share: part of all pixels that are the robot.
    """

    name: str
    status: Literal["ok", "failed"]
    num_frames: int = 0
    robot_share: float = 0.0
    spec: str | None = None
    error: str = ""


@dataclass(frozen=True)
class RobotWeightsReport:
    """What became of a folder of examples, in the order of their names."""

    outcomes: tuple[ExampleOutcome, ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 if an example failed."""
        return CosmosError.exit_code if any(outcome.status == "failed" for outcome in self.outcomes) else 0

    def summary(self) -> str:
        """A line per example for people."""
        return "\n".join(
            f"{o.spec}  ({o.num_frames} frames, {o.robot_share:.1%} robot)"
            if o.status == "ok"
            else f"{o.name}  failed: {o.error}"
            for o in self.outcomes
        )

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "status": "ok" if self.exit_code == 0 else "failed",
            "exit_code": self.exit_code,
            "examples": [asdict(outcome) for outcome in self.outcomes],
        }


def make_weights(request: RobotWeightsRequest) -> RobotWeightsReport:
    """Write the weight maps of all examples; one that fails does not stop the others.

    Each gets `{depth,vis,edge,seg}_weights.pt`, (F, H, W) float16, a picture of them, `weights.png`, and `spec.json`,
    which `cosmos transfer run --controlnet-specs` takes.

    Raises:
        InputError: there are no examples.
    """
    outcomes = []
    for example in find_examples(request):
        output.status(f"Reading {example.folder}")
        try:
            outcomes.append(_make_one(example, request))
        except CosmosError as error:
            outcomes.append(ExampleOutcome(example.folder.name, "failed", error=str(error)))
    return RobotWeightsReport(tuple(outcomes))


def find_examples(request: RobotWeightsRequest) -> list[Example]:
    """The folders within the input folder, by name.

    Raises:
        InputError: it is no folder, holds none, or is an example itself.
    """
    root = request.input_dir
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.", where="--input-dir", fix="Give a folder of example folders.")
    if (root / "segmentation_label").is_dir():
        raise InputError(f"{root} is an example itself.", where="--input-dir", fix="Give the folder that it lies in.")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise InputError(f"{root} holds no folders.", where="--input-dir", fix="Give a folder of example folders.")
    return [Example(folder, request.output_dir / folder.name) for folder in folders]


def _make_one(example: Example, request: RobotWeightsRequest) -> ExampleOutcome:
    strengths = STRENGTHS[request.setting]
    report_together(lambda: _check_inputs(example), lambda: _check_outputs(example, request))

    from cosmos_plugins.transfer1.robot_maps import read_segmentation, write_maps

    with making(_outputs(example, request), overwrite=request.overwrite):
        segmentation = read_segmentation(example, request.robot_keywords)
        write_maps(example, segmentation, strengths)
    return ExampleOutcome(
        example.folder.name,
        "ok",
        num_frames=len(segmentation.is_robot_FHW),
        robot_share=round(float(segmentation.is_robot_FHW.mean()), 4),
        spec=str(example.spec),
    )


def _check_inputs(example: Example) -> None:
    missing = [path.name for path in (example.input_video, example.segmentation) if not path.is_file()]
    if not example.labels.is_dir():
        missing.append(f"{example.labels.name}/")
    if missing:
        raise InputError(f"misses {', '.join(missing)}.", where=str(example.folder))


def _check_outputs(example: Example, request: RobotWeightsRequest) -> None:
    """The first file that cannot be written says enough: the others lie beside it."""
    for path in _outputs(example, request):
        check_writable(path, field="--output-dir", overwrite=request.overwrite)


def _outputs(example: Example, request: RobotWeightsRequest) -> list[Path]:
    """In the order in which they are written."""
    return [*map(example.weights, STRENGTHS[request.setting]), example.preview, example.spec]
