"""Batches of any kind: rows of a file, each a prompt or an input or both, and what else differs from the options."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.engines import Engine
from cosmos_cli.batch.manifest import Row, beside, check_kept, folder_of, ledger_name
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.batch.plan import Plan as Rows
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.foresight import plan_jobs
from cosmos_cli.generation.plan import Plan, one_after_another
from cosmos_cli.generation.requests import RunOptions
from cosmos_cli.import_strings import resolve
from cosmos_cli.requests import option_name, validate
from cosmos_cli.runtime.workers.share import Share

_IN_ROWS = "visual_input"
"""What the originals' batch files call the input; both names are understood."""


@dataclass(frozen=True)
class Batch(ABC):
    """What every row of a file asks of one model; what an earlier run has finished is kept.

    Attributes:
        inputs: the kind's module of that name, as far as it tells keys and costs.
        input_field: of a request, which names the frames that it begins with.
        not_in_rows: fields of a request that only the command line can say, or nobody.

    common: what holds for all rows that do not say otherwise.
    path: JSON Lines or a JSON array. A row has what a request needs, and any other field of one; `visual_input` is the
        input. Without a name the output is called after the row's number, from 0.
    request: the kind's model of a row with the common options.
    pipeline: import string of the kind's pipeline.
    """

    inputs: ClassVar[Any]
    input_field: ClassVar[str] = "input_image_or_video_path"
    not_in_rows: ClassVar[frozenset[str]] = frozenset({"video_save_folder", "overwrite"})

    settings: Any
    common: RunOptions
    path: Path
    request: type[RunOptions]
    pipeline: str

    # What a kind says

    @abstractmethod
    def check_row(self, settings: Any, request: Any) -> None:
        """Raises InputError: the request is wrong. settings: those of the run, for one device."""

    @abstractmethod
    def check_checkpoints(self, request: Any) -> None:
        """Raises CheckpointError: weights for a request are missing."""

    @abstractmethod
    def files_of(self, request: Any) -> Sequence[Path]:
        """All files that are made for a request."""

    def check_beside(self, request: Any, first: Any, row: Row) -> None:  # noqa: B027  # of one model nothing is wrong
        """Raises InputError: the model that makes the first row cannot make this one."""

    # What stands once

    def run(self, engine: Engine | None = None, share: Share | None = None) -> Report:
        """Make what every row asks for.

        Args:
            engine: what makes it; None for this machine.
            share: of the rows, to make those alone; None for all.

        Raises:
            InputError: the file is none, or no row of it is good.
            CheckpointError: weights are missing.
        """

        def load(requests: Sequence[Any]) -> Any:
            return resolve(self.pipeline, needed_by=self.pipeline).load(self.settings, requests)

        return run_batch(
            self._rows(needs_weights=True, share=share),
            load,
            ledger=self._ledger,
            overwrite=self.common.overwrite,
            engine=engine,
            share=share,
        )

    def check_workers(self, share: Share | None = None) -> None:
        """What `run` would refuse in each of several workers, their sharing of what is left to do included."""
        check_kept(self.path)
        rows = self._rows(needs_weights=True, share=share)
        left = left_to_do(rows, ledger=self._ledger, overwrite=self.common.overwrite)
        check_sharing_many(self.settings, [self.inputs.work_of(self.settings, item.request) for item in left])

    def plan(self) -> Plan:
        """What `run` will do and cost with all good rows of the file; it says of the others what is wrong.

        Missing weights are part of the plan, no error.

        Raises:
            InputError: the file is none, or no row of it is good, or there is no such device.
        """
        rows = self._rows(needs_weights=False)
        faults = rows.faults
        plans = plan_jobs(self.settings, [self.inputs.job_of(self.settings, item.request) for item in rows.items])
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

    def _rows(self, *, needs_weights: bool, share: Share | None = None) -> Rows[Any]:
        """The rows, checked; errors as for `run`, where weights are needed."""
        check_writable(self.common.video_save_folder / "video.mp4", field="--video-save-folder", overwrite=True)
        requests: list[Any] = []

        def to_item(row: Row) -> Item[Any]:
            request = self._request(row)
            requests.append(request)
            self.check_beside(request, requests[0], row)
            if needs_weights:
                self.check_checkpoints(request)
            return self._item(request, row)

        def pass_by(row: Row) -> None:
            if not requests:  # the first row counts, whoever makes it
                with contextlib.suppress(InputError):
                    requests.append(self._request(row))

        folder = self.common.video_save_folder
        return plan_batch(self.path, to_item, folder=folder, share=share, pass_by=pass_by)

    def _item(self, request: Any, row: Row) -> Item[Any]:
        try:
            self.check_row(self.settings.model_copy(update={"num_gpus": 1, "parallel": None}), request)
        except InputError as error:
            raise InputError.from_problems(self._in_words_of_a_row(problem) for problem in error.problems) from error
        return Item(
            name=request.video_save_name,
            place=row.place,
            index=row.index,
            request=request,
            files=tuple(self.files_of(request)),
            key=f"{self.inputs.key_of(self.settings, request)} {request.video_save_name}",
        )

    def _way_out(self, name: str) -> str:
        known = {*type(self.common).model_fields, *type(self.settings).model_fields}
        return "Give it on the command line." if name in known else "Leave it out; video_save_name names the output."

    def _request(self, row: Row) -> Any:
        """The common options with what the row changes. Raises InputError for all that is wrong with the row."""
        values, problems = dict(row.values), []
        of_the_run, given_as = {*self.not_in_rows, *type(self.settings).model_fields}, self.input_field
        for name in [name for name in values if name in of_the_run]:
            del values[name]
            place = f"{row.place}, {name}"
            problems.append(Problem("cannot differ from row to row.", place, self._way_out(name)))
        if _IN_ROWS in values and given_as in self.request.model_fields:
            if given_as in values:
                problems.append(Problem(f"is also given, as {given_as}.", f"{row.place}, {_IN_ROWS}", "Leave one out."))
            values[given_as] = values.pop(_IN_ROWS)
        given = {name: value for name, value in self.common if value is not None}
        values = {**given, "video_save_name": str(row.index), **values}
        try:
            [request] = validate(
                [self.request],
                values,
                name_of=lambda name: _IN_ROWS if name == given_as else name,
                where=row.place,
                not_offered=of_the_run,
            )
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError.from_problems(problems)
        source = getattr(request, given_as, None)
        return (
            request if source is None else request.model_copy(update={given_as: beside(folder_of(self.path), source)})
        )

    def _in_words_of_a_row(self, problem: Problem) -> Problem:
        names = {option_name(self.input_field): _IN_ROWS, "--prompt": "prompt"}
        return Problem(problem.what, names.get(problem.where or "", problem.where), problem.fix)
