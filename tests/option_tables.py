"""The tables of the guides that are derived from code: `python -m tests.option_tables` writes them.

Options come from the request models, and what published files may look like from the families' formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from cosmos_cli.checkpoints.formats import Format
from cosmos_cli.commands.formats import formats
from cosmos_cli.request_options import OptionDescription, describe_options
from cosmos_cli.settings import OneOutput, Planning, Spreading
from cosmos_cli.training.data.prepare_requests import Preparation, PreparationSettings
from cosmos_cli.training.requests import PostTraining, TrainingSettings
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest
from cosmos_plugins.nemo_bridge.dataset.requests import DatasetSettings, InstructionDataset, SubjectDataset
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings
from cosmos_plugins.nemo_bridge.training_requests import NemoPostTraining, NemoTrainingSettings
from cosmos_plugins.predict1_multiview.multiview import requests as predict1_multiview
from cosmos_plugins.predict1_multiview.text2world import requests as predict1_text2world
from cosmos_plugins.predict1_multiview.video2world import requests as predict1_video2world
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.critic.requests import CriticRequest, CriticSettings, Judging
from cosmos_plugins.predict2.multiview import requests as predict2_multiview
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.transfer1.control_options import CONTROL_OPTIONS
from cosmos_plugins.transfer1.guided.requests import GUIDED_SPECS, DemoEpisode, GuidedRequest, GuidedSettings
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.spec import MULTIVIEW_SPECS
from cosmos_plugins.transfer1.prompts.requests import PromptsRequest, PromptsSettings
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.robot_weights import RobotWeightsRequest
from cosmos_plugins.transfer1.spec import CONTROLNET_SPECS

DOCS = Path(__file__).parent.parent / "docs"
COMMANDS: dict[str, list[OptionDescription]] = {
    "nemo run": describe_options(NemoRequest, NemoSettings, OneOutput),
    "nemo prepare-dataset": describe_options(SubjectDataset, DatasetSettings),
    "nemo prepare-instruction-dataset": describe_options(InstructionDataset, DatasetSettings),
    "nemo convert": describe_options(ConversionRequest),
    "predict1 video2world": describe_options(
        predict1_video2world.Video2WorldRequest, predict1_video2world.Video2WorldSettings, OneOutput, Spreading
    ),
    "predict1 text2world": describe_options(
        predict1_text2world.Text2WorldRequest, predict1_text2world.Text2WorldSettings, OneOutput, Spreading
    ),
    "predict1-multiview run": describe_options(
        predict1_multiview.MultiviewRequest, predict1_multiview.MultiviewSettings, OneOutput, Spreading
    ),
    "predict1-multiview prepare-data": describe_options(Preparation, PreparationSettings),
    "predict2 video2world": describe_options(Video2WorldRequest, Video2WorldSettings, OneOutput, Spreading),
    "predict2 critic": describe_options(CriticRequest, Judging, CriticSettings),
    "predict2 text2image": describe_options(Text2ImageRequest, Text2ImageSettings, OneOutput),
    "predict2 text2world": describe_options(Text2WorldRequest, Text2WorldSettings, OneOutput),
    "predict2 multiview": describe_options(
        predict2_multiview.MultiviewRequest, predict2_multiview.MultiviewSettings, OneOutput
    ),
    "predict2 action": describe_options(ActionRequest, ActionSettings, OneOutput),
    "transfer run": describe_options(
        TransferRequest, TransferSettings, OneOutput, Spreading, files=[CONTROLNET_SPECS], groups=[CONTROL_OPTIONS]
    ),
    "transfer multiview": describe_options(MultiviewRequest, MultiviewSettings, OneOutput, files=[MULTIVIEW_SPECS]),
    "transfer robot-weights": describe_options(RobotWeightsRequest),
    "transfer guided": describe_options(
        GuidedRequest, GuidedSettings, DemoEpisode, Planning, Spreading, files=[GUIDED_SPECS]
    ),
    "transfer prompts": describe_options(PromptsRequest, PromptsSettings),
    "predict1-multiview post-train": describe_options(PostTraining, TrainingSettings),
    "nemo post-train": describe_options(NemoPostTraining, NemoTrainingSettings),
}
"""Command to the options of its table, which stands in a guide between two comments."""

_TABLE = re.compile(r"(<!-- options of (?P<command>[^:]+): [^>]*-->\n).*?(<!-- end of options -->)", re.DOTALL)
_FORMATS = re.compile(r"(<!-- published files: [^>]*-->\n).*?(<!-- end of published files -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The text of a guide with its tables as they should be."""
    text = _TABLE.sub(lambda found: f"{found[1]}\n{_table(COMMANDS[found['command']])}\n\n{found[3]}", text)
    return _FORMATS.sub(lambda found: f"{found[1]}\n{_formats_table(formats())}\n\n{found[2]}", text)


def commands_in(text: str) -> list[str]:
    """The commands whose options a guide lists."""
    return [found["command"] for found in _TABLE.finditer(text)]


def _table(options: Sequence[OptionDescription]) -> str:
    rows = ["| option | meaning | default |", "| --- | --- | --- |"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.names)
        values = option.values.replace("|", ", ")
        default = "required" if option.required else option.default or ""
        variable = f" Variable: `{option.env}`." if option.env else ""
        rows.append(f"| {names} {values} | {option.help}{variable} | {default} |")
    return "\n".join(rows)


def _formats_table(known: Iterable[Format]) -> str:
    """A row for the files of one folder that may look alike."""

    def row(each: Format) -> tuple[str, str, str]:
        return each.file.rpartition("/")[0], each.shapes, each.test

    rows = ["| files | shapes | test |", "| --- | --- | --- |"]
    for (folder, shapes, test), alike in groupby(sorted(known, key=row), row):
        names = ", ".join(f" `{name}`" for each in alike if (name := each.file.rpartition("/")[2]))
        # a `*` would be taken for emphasis
        shapes = re.sub(r"\S*\*", lambda name: f"`{name[0]}`", shapes)
        rows.append(f"| `{folder}/`{names} | {shapes} | `{test}` |")
    return "\n".join(rows)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(with_tables(path.read_text()))
