"""Batches: rows of a file, each the prompts of a scene and, where frames are given, a video of all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.manifest import Row, beside, check_kept, folder_of, ledger_name
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.batch.plan import Plan as Rows
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.plan import Plan, one_after_another, plan_job
from cosmos_cli.requests import validate
from cosmos_cli.runtime.machine import find_machine
from cosmos_plugins.predict1_multiview.multiview.inputs import (
    check_checkpoints,
    check_files,
    check_settings,
    job_of,
    key_of,
    work_of,
)
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewOptions, MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.multiview.samples import output_paths
from cosmos_plugins.predict1_multiview.variants import Kind

_OF_THE_RUN = {"video_save_folder", "overwrite", *MultiviewSettings.model_fields}
"""Fields that rows cannot change: the model is loaded once."""

_NAMES_IN_ROWS = {"input_image_or_video_path": "visual_input"}
"""Field to what the original's batch files call it; both names are understood."""


def run(settings: MultiviewSettings, common: MultiviewOptions, path: Path) -> Report:
    """Make the videos of every row of a batch file; finished ones of an earlier run are kept.

    Args:
        common: what holds for all rows that do not say otherwise; the prompts of cameras that a row leaves out too.
        path: JSON Lines or a JSON array. A row has `prompt`, and may have `prompt_left` and so on, `visual_input`, and
            any other field of a request. Either all rows have given frames or none, for one model makes them all.
    Raises:
        InputError: the file is none, or no row of it is good.
        CheckpointError: weights are missing.
    """
    rows = rows_of(settings, common, path, needs_weights=True)

    def load(requests: Sequence[MultiviewRequest]) -> Any:
        from cosmos_plugins.predict1_multiview.multiview.pipeline import MultiviewPipeline

        return MultiviewPipeline.load(settings, requests)

    return run_batch(rows, load, ledger=_ledger(common, path), overwrite=common.overwrite)


def check_workers(settings: MultiviewSettings, common: MultiviewOptions, path: Path) -> None:
    """What `run` would refuse in each of several workers, their sharing of what is left to do included."""
    check_kept(path)
    rows = rows_of(settings, common, path, needs_weights=True)
    left = left_to_do(rows, ledger=_ledger(common, path), overwrite=common.overwrite)
    check_sharing_many(settings, [work_of(settings, item.request) for item in left])


def _ledger(common: MultiviewOptions, path: Path) -> Path:
    return common.video_save_folder / ledger_name(path)


def plan(settings: MultiviewSettings, common: MultiviewOptions, path: Path) -> Plan:
    """What `run` will do and cost with all good rows of the file; it says of the others what is wrong.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: the file is none, or no row of it is good, or there is no such device.
    """
    rows = rows_of(settings, common, path, needs_weights=False)
    machine = find_machine(settings.device)
    jobs, faults = [job_of(settings, item.request) for item in rows.items], rows.faults
    plans = [
        plan_job(settings, job, machine=machine, is_first=number == 0, together=jobs) for number, job in enumerate(jobs)
    ]
    num_rows = len(plans) + len(faults)
    wrong = [f"{len(faults)} of {num_rows} rows are wrong, and will not be made."] if faults else []
    for fault in sorted(faults, key=lambda fault: fault.index):
        wrong += [f"wrong row: {problem}" for problem in fault.problems]
    whole = one_after_another(
        plans,
        model=plans[0].model.replace("predict1-multiview run", "predict1-multiview batch"),
        request={"file": str(path), "num_rows": num_rows, "num_wrong_rows": len(faults)},
        faults=wrong,
    )
    return replace(whole, notices=(*whole.notices, "what an earlier run has finished: all is counted as to be made"))


def rows_of(
    settings: MultiviewSettings, common: MultiviewOptions, path: Path, *, needs_weights: bool
) -> Rows[MultiviewRequest]:
    """The rows of a batch file, checked; arguments and errors as for `run`, where weights are needed."""
    check_writable(common.video_save_folder / "video.mp4", field="--video-save-folder", overwrite=True)
    kinds: list[Kind] = []

    def to_item(row: Row) -> Item[MultiviewRequest]:
        request = _request(common, row, folder_of(path))
        kinds.append(request.kind)
        if request.kind != kinds[0]:
            raise InputError(
                "is missing, but the first row has it." if request.kind == "text2world" else "is not in the first row.",
                where=f"{row.place}, visual_input",
                fix="One model makes all rows: give frames to all of them or to none, or divide the file.",
            )
        if needs_weights:
            check_checkpoints(settings, request.kind)
        return _item(settings, request, row)

    return plan_batch(path, to_item)


def _item(settings: MultiviewSettings, request: MultiviewRequest, row: Row) -> Item[MultiviewRequest]:
    try:
        check_settings(settings.model_copy(update={"num_gpus": 1, "parallel": None}), request)
        check_files(request)
        work_of(settings, request)  # memory is planned for all rows: one bad video must not stop the others
    except InputError as error:
        raise InputError.from_problems(_in_words_of_a_row(problem) for problem in error.problems) from error
    return Item(
        name=request.video_save_name,
        place=row.place,
        index=row.index,
        request=request,
        files=tuple(output_paths(request).values()),
        key=f"{key_of(settings, request)} {request.video_save_name}",
    )


def _request(common: MultiviewOptions, row: Row, folder: Path) -> MultiviewRequest:
    """The common options with what the row changes. Raises InputError for all that is wrong with the row."""
    values, problems = dict(row.values), []
    for name in [name for name in values if name in _OF_THE_RUN]:
        del values[name]
        place = f"{row.place}, {name}"
        problems.append(Problem("cannot differ from row to row.", place, "Give it on the command line."))
    for field, own_name in _NAMES_IN_ROWS.items():
        if own_name in values:
            if field in values:
                problems.append(Problem(f"is also given, as {field}.", f"{row.place}, {own_name}", "Leave one out."))
            values[field] = values.pop(own_name)
    given = {name: value for name, value in common if value is not None}
    values = {**given, "video_save_name": str(row.index), **values}
    try:
        [request] = validate(
            [MultiviewRequest], values, name_of=lambda name: _NAMES_IN_ROWS.get(name, name), where=row.place
        )
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError.from_problems(problems)
    assert isinstance(request, MultiviewRequest)
    source = request.input_image_or_video_path
    return (
        request if source is None else request.model_copy(update={"input_image_or_video_path": beside(folder, source)})
    )


def _in_words_of_a_row(problem: Problem) -> Problem:
    where = "visual_input" if problem.where == "--input-image-or-video-path" else problem.where
    return Problem(problem.what, where, problem.fix)
