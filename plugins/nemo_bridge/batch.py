"""Batches of videos, all of one model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from cosmos_cli.batch.manifest import Row
from cosmos_cli.batch.of_one_model import Batch
from cosmos_cli.errors import InputError, report_together
from cosmos_plugins.nemo_bridge import inputs
from cosmos_plugins.nemo_bridge.model import model_of
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings
from cosmos_plugins.nemo_bridge.samples import output_paths


class VideoBatch(Batch):
    """One video of each row, all with an input or all without."""

    inputs: ClassVar = inputs
    input_field: ClassVar[str] = "conditioned_image_or_video_path"
    not_in_rows: ClassVar = Batch.not_in_rows | {"video_save_path"}

    def check_row(self, settings: NemoSettings, request: NemoRequest) -> None:
        report_together(
            lambda: model_of(settings, request.kind),
            lambda: inputs.check_request(settings, request),
            lambda: inputs.read_given(request),
        )

    def check_beside(self, request: NemoRequest, first: NemoRequest, row: Row) -> None:
        if request.kind == first.kind:
            return
        has, others = ("an", "none") if request.kind == "video2world" else ("no", "one")
        raise InputError(
            f"has {has} input where the first row has {others}, and one model makes all.",
            where=f"{row.place}, visual_input",
            fix="Put these rows into a file of their own.",
        )

    def check_checkpoints(self, request: NemoRequest) -> None:
        inputs.check_checkpoints(self.settings, request)

    def files_of(self, request: NemoRequest) -> Sequence[Path]:
        return list(output_paths(request).values())
