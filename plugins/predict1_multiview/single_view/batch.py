"""Batches: rows of a file, each a prompt or an input or both, and what else differs from the common options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.manifest import Row, beside, check_kept, folder_of, ledger_name
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.batch.plan import Plan as Rows
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.plan import Plan, one_after_another, plan_job
from cosmos_cli.registry import resolve
from cosmos_cli.requests import validate
from cosmos_cli.runtime.machine import find_machine
from cosmos_plugins.predict1_multiview.single_view.inputs import (
    INPUT,
    check_checkpoints,
    check_request,
    job_of,
    key_of,
    read_given,
    work_of,
)
from cosmos_plugins.predict1_multiview.single_view.network import network_of
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings
from cosmos_plugins.predict1_multiview.single_view.samples import output_paths

_NAMES_IN_ROWS = {"input_image_or_video_path": "visual_input"}
"""Field to what the originals' batch files call it; both names are understood."""


@dataclass(frozen=True)
class Batch:
    """Videos of one kind, one for each row of a file; finished ones of an earlier run are kept.

    common: what holds for all rows that do not say otherwise.
    path: JSON Lines or a JSON array. A row has what a request needs, and any other field of one; `visual_input` is the
        input. Without a name the output is called after the row's number, from 0.
    request: the kind's model of a row with the common options.
    pipeline: import string of the kind's pipeline.
    """

    settings: SingleViewSettings
    common: SingleViewOptions
    path: Path
    request: type[SingleViewOptions]
    pipeline: str

    def run(self) -> Report:
        """Make a video of every row.

        Raises:
            InputError: the file is none, or no row of it is good.
            CheckpointError: weights are missing.
        """

        def load(requests: Sequence[SingleViewOptions]) -> Any:
            return resolve(self.pipeline, needed_by=self.pipeline).load(self.settings, requests)

        return run_batch(self._rows(needs_weights=True), load, ledger=self._ledger, overwrite=self.common.overwrite)

    def check_workers(self) -> None:
        """What `run` would refuse in each of several workers, their sharing of what is left to do included."""
        check_kept(self.path)
        rows = self._rows(needs_weights=True)
        left = left_to_do(rows, ledger=self._ledger, overwrite=self.common.overwrite)
        check_sharing_many(self.settings, [work_of(self.settings, item.request) for item in left])

    def plan(self) -> Plan:
        """What `run` will do and cost with all good rows of the file; it says of the others what is wrong.

        Missing weights are part of the plan, no error.

        Raises:
            InputError: the file is none, or no row of it is good, or there is no such device.
        """
        rows = self._rows(needs_weights=False)
        machine = find_machine(self.settings.device)
        jobs, faults = [job_of(self.settings, item.request) for item in rows.items], rows.faults
        plans = [
            plan_job(self.settings, job, machine=machine, is_first=number == 0, together=jobs)
            for number, job in enumerate(jobs)
        ]
        num_rows = len(plans) + len(faults)
        wrong = [f"{len(faults)} of {num_rows} rows are wrong, and will not be made."] if faults else []
        for fault in sorted(faults, key=lambda fault: fault.index):
            wrong += [f"wrong row: {problem}" for problem in fault.problems]
        told = {"file": str(self.path), "num_rows": num_rows, "num_wrong_rows": len(faults)}
        whole = one_after_another(plans, model=f"{plans[0].model}, batch", request=told, faults=wrong)
        kept = "what an earlier run has finished: all is counted as to be made"
        return replace(whole, notices=(*whole.notices, kept))

    @property
    def _ledger(self) -> Path:
        return self.common.video_save_folder / ledger_name(self.path)

    def _rows(self, *, needs_weights: bool) -> Rows[SingleViewOptions]:
        """The rows, checked; errors as for `run`, where weights are needed."""
        report_together(
            lambda: check_writable(
                self.common.video_save_folder / "video.mp4", field="--video-save-folder", overwrite=True
            ),
            lambda: network_of(self.settings),  # of the other kind it is wrong for all rows
        )

        def to_item(row: Row) -> Item[SingleViewOptions]:
            item = self._item(row)
            if needs_weights:
                check_checkpoints(self.settings, item.request)
            return item

        return plan_batch(self.path, to_item)

    def _item(self, row: Row) -> Item[SingleViewOptions]:
        request = self._request(row)
        settings = self.settings.model_copy(update={"num_gpus": 1, "parallel": None})
        try:
            report_together(lambda: check_request(settings, request), lambda: read_given(request))
        except InputError as error:
            raise InputError.from_problems(_in_words_of_a_row(problem) for problem in error.problems) from error
        return Item(
            name=request.video_save_name,
            place=row.place,
            index=row.index,
            request=request,
            files=tuple(output_paths(request).values()),
            key=f"{key_of(self.settings, request)} {request.video_save_name}",
        )

    def _request(self, row: Row) -> SingleViewOptions:
        """The common options with what the row changes. Raises InputError for all that is wrong with the row."""
        values, problems = dict(row.values), []
        of_the_run = {"video_save_folder", "overwrite", *type(self.settings).model_fields}
        for name in [name for name in values if name in of_the_run]:
            del values[name]
            place = f"{row.place}, {name}"
            problems.append(Problem("cannot differ from row to row.", place, "Give it on the command line."))
        for field, own_name in _NAMES_IN_ROWS.items():
            if own_name in values and field in self.request.model_fields:
                if field in values:
                    problems.append(
                        Problem(f"is also given, as {field}.", f"{row.place}, {own_name}", "Leave one out.")
                    )
                values[field] = values.pop(own_name)
        given = {name: value for name, value in self.common if value is not None}
        values = {**given, "video_save_name": str(row.index), **values}
        try:
            [request] = validate(
                [self.request], values, name_of=lambda name: _NAMES_IN_ROWS.get(name, name), where=row.place
            )
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError.from_problems(problems)
        assert isinstance(request, SingleViewOptions)
        if request.source is None:
            return request
        found = beside(folder_of(self.path), request.source)
        return request.model_copy(update={"input_image_or_video_path": found})


def _in_words_of_a_row(problem: Problem) -> Problem:
    names = {INPUT: "visual_input", "--prompt": "prompt"}
    return Problem(problem.what, names.get(problem.where or "", problem.where), problem.fix)
