"""Batches of scenes: all out of prompts alone, or all with given frames, for one model makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from cosmos_cli.batch.manifest import Row
from cosmos_cli.batch.of_one_model import Batch
from cosmos_cli.errors import InputError
from cosmos_plugins.predict1_multiview.multiview import inputs
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.multiview.samples import output_paths


class SceneBatch(Batch):
    """The videos of all cameras for each row; prompts of cameras that a row leaves out are those of the options."""

    inputs: ClassVar = inputs

    def check_row(self, settings: MultiviewSettings, request: MultiviewRequest) -> None:
        inputs.check_settings(settings, request)
        inputs.check_files(request)
        inputs.work_of(settings, request)  # memory is planned for all rows: one bad video must not stop the others
        if request.input_image_or_video_path is not None:
            from cosmos_cli.media.video import check_decodes

            check_decodes(request.input_image_or_video_path)

    def check_checkpoints(self, request: MultiviewRequest) -> None:
        inputs.check_checkpoints(self.settings, request.kind)

    def files_of(self, request: MultiviewRequest) -> Sequence[Path]:
        return list(output_paths(request).values())

    def check_beside(self, request: MultiviewRequest, first: MultiviewRequest, row: Row) -> None:
        if request.kind != first.kind:
            raise InputError(
                "is missing, but the first row has it." if request.kind == "text2world" else "is not in the first row.",
                where=f"{row.place}, visual_input",
                fix="One model makes all rows: give frames to all of them or to none, or divide the file.",
            )
