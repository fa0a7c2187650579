"""Batches: rows of a file, each an input, a prompt and an output, and what else differs from the common options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.engines import Engine
from cosmos_cli.batch.manifest import Row, beside, check_kept, folder_of, ledger_name
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.batch.plan import Plan as Rows
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.names import same_file, within
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.files.stores import StorePath
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.foresight import plan_jobs
from cosmos_cli.generation.plan import Plan, one_after_another
from cosmos_cli.requests import validate
from cosmos_cli.runtime.workers.share import Share
from cosmos_plugins.predict2.video2world.inputs import (
    check_checkpoints,
    check_files,
    check_settings,
    job_of,
    key_of,
    output_paths,
    read_conditioning_frames,
    work_of,
)
from cosmos_plugins.predict2.video2world.requests import Video2WorldOptions, Video2WorldRequest, Video2WorldSettings

_NAMES_IN_ROWS = {"input_path": "input_video", "save_path": "output_video"}
"""Fields that the original's batch files call otherwise; both names are understood."""

_OF_THE_RUN = {"overwrite", *Video2WorldSettings.model_fields}
"""Fields that rows cannot change: the model is loaded once."""


def run(
    settings: Video2WorldSettings,
    common: Video2WorldOptions,
    path: Path,
    root: Path = Path(),
    *,
    engine: Engine | None = None,
    share: Share | None = None,
) -> Report:
    """Make a video of every row of a batch file; finished ones of an earlier run are kept.

    Args:
        common: what holds for all rows that do not say otherwise. The ledger goes into the folder of its `save_path`.
        path: a JSON array or JSON Lines. A row has `input_video`, `prompt`, `output_video` (`output_<index>.mp4` by
            default) and any other field of a request. Inputs are looked up in the working folder and then beside the
            file.
        root: folder that outputs are relative to, and must not leave.
        engine: what makes the videos; None for this machine.
        share: of the rows, to make those alone; None for all.
    Raises:
        InputError: the settings are wrong, the file is none, or no row of it is good.
        CheckpointError: weights are missing.
    """
    plan, ledger = _rows(settings, common, path, root, share)

    def load(requests: Sequence[Video2WorldRequest]) -> Any:
        from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline

        return Video2WorldPipeline.load(settings, requests)

    return run_batch(plan, load, ledger=ledger, overwrite=common.overwrite, engine=engine, share=share)


def check_workers(
    settings: Video2WorldSettings,
    common: Video2WorldOptions,
    path: Path,
    root: Path = Path(),
    *,
    share: Share | None = None,
) -> None:
    """What `run` would refuse in each of several workers, their sharing of what is left to do included."""
    check_kept(path)
    rows, ledger = _rows(settings, common, path, root, share)
    left = left_to_do(rows, ledger=ledger, overwrite=common.overwrite)
    check_sharing_many(settings, [work_of(settings, item.request) for item in left])


def _rows(
    settings: Video2WorldSettings, common: Video2WorldOptions, path: Path, root: Path, share: Share | None
) -> tuple[Rows[Video2WorldRequest], Path]:
    """The rows of a batch file, and its ledger; arguments and errors as for `run`."""
    ledger = _check(settings, common, path, root)
    rows = _plan(settings, common, path, root, ledger.parent, share)
    check_checkpoints(settings)
    return rows, ledger


def _plan(
    settings: Video2WorldSettings,
    common: Video2WorldOptions,
    path: Path,
    root: Path,
    own_folder: Path,
    share: Share | None = None,
) -> Rows[Video2WorldRequest]:
    def to_item(row: Row) -> Item[Video2WorldRequest]:
        return _item(settings, common, row, folder_of(path), root, own_folder)

    return plan_batch(path, to_item, folder=root, share=share)


def plan(settings: Video2WorldSettings, common: Video2WorldOptions, path: Path, root: Path = Path()) -> Plan:
    """What `run` will do and cost with all good rows of the file; it says of the others what is wrong.

    Raises:
        InputError: as for `run`.
    """
    ledger = _check(settings, common, path, root)
    rows = _plan(settings, common, path, root, ledger.parent)
    faults = [f"wrong row: {problem}" for fault in rows.faults for problem in fault.problems]
    num_rows = len(rows.items) + len(rows.faults)
    if faults:
        faults.insert(0, f"{len(rows.faults)} of {num_rows} rows are wrong, and will not be made.")
    return plan_many(
        settings,
        [item.request for item in rows.items],
        command="batch",
        request={"file": str(path), "num_rows": num_rows, "num_wrong_rows": len(rows.faults)},
        faults=faults,
    )


def plan_many(
    settings: Video2WorldSettings,
    requests: Sequence[Video2WorldRequest],
    *,
    command: str,
    request: Mapping[str, Any],
    faults: Sequence[str] = (),
) -> Plan:
    """What many videos cost that one model makes: it loads once."""
    plans = plan_jobs(settings, [job_of(settings, each) for each in requests])
    model = plans[0].model.replace("video2world", command)
    whole = one_after_another(plans, model=model, request=request, faults=faults)
    return replace(whole, notices=(*whole.notices, "what an earlier run has finished: all is counted as to be made"))


def _check(settings: Video2WorldSettings, common: Video2WorldOptions, path: Path, root: Path) -> Path:
    """The ledger of a batch whose settings are good: in a store, if its videos go there."""
    ledger = (root if isinstance(root, StorePath) else common.save_path.parent) / ledger_name(path)
    report_together(
        lambda: check_settings(settings),
        lambda: check_writable(ledger.with_name("video.mp4"), field="--save-path", overwrite=True),
    )
    return ledger


def make_item(
    settings: Video2WorldSettings, request: Video2WorldRequest, *, name: str, place: str, index: int, folder: Path
) -> Item[Video2WorldRequest]:
    """A checked request as an item of a batch.

    Args:
        folder: of the ledger; both may be moved together.
    """
    place_of_file = os.path.relpath(same_file(request.save_path), same_file(folder / "_").parent)
    return Item(
        name=name,
        place=place,
        index=index,
        request=request,
        files=tuple(output_paths(request).values()),
        key=f"{key_of(settings, request)} {place_of_file}",
    )


def _item(
    settings: Video2WorldSettings,
    common: Video2WorldOptions,
    row: Row,
    folder: Path,
    root: Path,
    own_folder: Path,
) -> Item[Video2WorldRequest]:
    request = _request(common, row, folder)
    try:
        save_path = _below(root, request.save_path)
        request = request.model_copy(update={"save_path": save_path})
        report_together(
            # whether a video that is there already may be replaced is for the ledger to tell
            lambda: check_files(request.model_copy(update={"overwrite": True})),
            lambda: read_conditioning_frames(request),
        )
    except InputError as error:
        raise InputError.from_problems(_in_words_of_a_row(problem) for problem in error.problems) from error
    name = str(output_paths(request)["video"])
    return make_item(settings, request, name=name, place=row.place, index=row.index, folder=own_folder)


def _below(root: Path, save_path: Path) -> Path:
    """Where a row writes: relative to the root, or anywhere in it. Raises InputError: it leads out of it."""
    name = save_path
    if save_path.is_absolute():
        real = same_file(save_path)
        folder = root if isinstance(root, StorePath) else Path(os.path.realpath(root))
        name = real.relative_to(folder) if real.is_relative_to(folder) else save_path
    try:
        return within(root, str(name), field="output_video")
    except InputError as error:
        if not (name.is_absolute() or ".." in name.parts):
            raise
        raise InputError(
            f"{str(save_path)!r} leads out of {same_file(root / '_').parent}, where rows may write.",
            where="output_video",
            fix="Name the folder below which they shall: --output-root DIR.",
        ) from error


def _request(common: Video2WorldOptions, row: Row, folder: Path) -> Video2WorldRequest:
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
    values = {**given, "save_path": f"output_{row.index}.mp4", **values}
    try:
        [request] = validate(
            [Video2WorldRequest],
            values,
            name_of=lambda name: _NAMES_IN_ROWS.get(name, name),
            where=row.place,
            not_offered=_OF_THE_RUN,
        )
    except InputError as error:
        problems += error.problems
    if "prompt" not in row.values and not common.prompt:  # left out by mistake, more often than not
        problems.append(Problem("is required.", f"{row.place}, prompt", 'Give prompt; "" is none.'))
    if problems:
        raise InputError.from_problems(problems)
    assert isinstance(request, Video2WorldRequest)
    return request.model_copy(update={"input_path": beside(folder, request.input_path)})


def _in_words_of_a_row(problem: Problem) -> Problem:
    names = {"--input-path": "input_video", "--save-path": "output_video"}
    return Problem(problem.what, names.get(problem.where or "", problem.where), problem.fix)
