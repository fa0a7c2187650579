"""Batches of videos of one camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from cosmos_cli.batch.of_one_model import Batch
from cosmos_cli.errors import report_together
from cosmos_plugins.predict1_multiview.single_view import inputs
from cosmos_plugins.predict1_multiview.single_view.network import network_of
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings
from cosmos_plugins.predict1_multiview.single_view.samples import output_paths


class VideoBatch(Batch):
    """One video of each row, all of one kind."""

    inputs: ClassVar = inputs

    def check_row(self, settings: SingleViewSettings, request: SingleViewOptions) -> None:
        report_together(
            lambda: network_of(settings),
            lambda: inputs.check_request(settings, request),
            lambda: inputs.read_given(request),
        )

    def check_checkpoints(self, request: SingleViewOptions) -> None:
        inputs.check_checkpoints(self.settings, request)

    def files_of(self, request: SingleViewOptions) -> Sequence[Path]:
        return list(output_paths(request).values())
