"""Batches: rows of a file, each an input video with what it changes about a common request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.engines import Engine
from cosmos_cli.batch.manifest import Row, beside, check_kept, folder_of, ledger_name
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.batch.plan import Plan as Rows
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.missing import exists
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.foresight import Job, plan_jobs
from cosmos_cli.generation.plan import Plan, one_after_another
from cosmos_cli.generation.work import ENCODER_FRAMES, Part
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.requests import validate
from cosmos_cli.runtime.workers.share import Share
from cosmos_plugins.transfer1.checks import check_decoding, check_request
from cosmos_plugins.transfer1.inputs import job_of, key_of, work_of
from cosmos_plugins.transfer1.needs import check_checkpoints
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import output_paths
from cosmos_plugins.transfer1.spec import as_control

_OF_THE_RUN = ("controls", "video_save_folder", "overwrite")
"""Fields of a request that rows cannot change; controls have `control_overrides`."""

_NAMES_IN_ROWS = {"input_video_path": "visual_input", "controls": "control_overrides"}
"""Fields of a request that rows call otherwise."""


def run(
    settings: TransferSettings,
    common: TransferRequest,
    path: Path,
    *,
    engine: Engine | None = None,
    share: Share | None = None,
) -> Report:
    """Make a video of every row of a batch file; finished ones of an earlier run are kept.

    Args:
        common: what holds for all rows that do not say otherwise.
        path: JSON Lines or a JSON array. A row has `visual_input`, and may have `prompt`, any other field of a
            request, and `control_overrides`: modality to the keys of its control that differ.
        engine: what makes the videos; None for this machine.
        share: of the rows, to make those alone; None for all.
    Raises:
        InputError: the file is none, or no row of it is good.
        CheckpointError: weights are missing.
    """
    rows = rows_of(settings, common, path, needs_weights=True, share=share)

    def load(requests: Sequence[TransferRequest]) -> Any:
        from cosmos_plugins.transfer1.pipeline import TransferPipeline

        return TransferPipeline.load(settings, requests)

    return run_batch(rows, load, ledger=_ledger(common, path), overwrite=common.overwrite, engine=engine, share=share)


def check_workers(
    settings: TransferSettings, common: TransferRequest, path: Path, *, share: Share | None = None
) -> None:
    """What `run` would refuse in each of several workers, their sharing of what is left to do included."""
    check_kept(path)
    rows = rows_of(settings, common, path, needs_weights=True, share=share)
    left = left_to_do(rows, ledger=_ledger(common, path), overwrite=common.overwrite)
    check_sharing_many(settings, [work_of(settings, item.request) for item in left])


def _ledger(common: TransferRequest, path: Path) -> Path:
    return common.video_save_folder / ledger_name(path)


def plan(settings: TransferSettings, common: TransferRequest, path: Path) -> Plan:
    """What `run` will do and cost with all good rows of the file; it says of the others what is wrong.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: the file is none, or no row of it is good, or there is no such device.
    """
    rows = rows_of(settings, common, path, needs_weights=False)
    faults = rows.faults
    plans = plan_jobs(settings, [_beside_others(job_of(settings, item.request)) for item in rows.items])
    num_rows = len(plans) + len(faults)
    wrong = [f"{len(faults)} of {num_rows} rows are wrong, and will not be made."] if faults else []
    for fault in sorted(faults, key=lambda fault: fault.index):
        wrong += [f"wrong row: {problem}" for problem in fault.problems]
    whole = one_after_another(
        plans,
        model=plans[0].model.replace("transfer run", "transfer batch"),
        request={"file": str(path), "num_rows": num_rows, "num_wrong_rows": len(faults)},
        faults=wrong,
    )
    return replace(whole, notices=(*whole.notices, "what an earlier run has finished: all is counted as to be made"))


def _beside_others(job: Job) -> Job:
    """A job, with the frames of the next video, which is being prepared, and of the last, which is being written."""
    num_frames, pixels = job.frames.made, job.frames.height * job.frames.width
    frames_bytes = 2 * 3 * job.work.held_px + 3 * num_frames * pixels
    return replace(job, beside=[Part("next and last video", frames_bytes + ENCODER_FRAMES * 1.5 * pixels, "host")])


def rows_of(
    settings: TransferSettings,
    common: TransferRequest,
    path: Path,
    *,
    needs_weights: bool,
    share: Share | None = None,
) -> Rows[TransferRequest]:
    """The rows of a batch file, checked; arguments and errors as for `run`, where weights are needed."""
    check_writable(common.video_save_folder / "video.mp4", field="--video-save-folder", overwrite=True)
    if needs_weights:
        output.status("Reading the inputs of all rows")

    def to_item(row: Row) -> Item[TransferRequest]:
        item = _item(settings, common, row, folder_of(path))
        if needs_weights:
            check_checkpoints(settings, item.request)
            # what an earlier run has finished needs no input
            if common.overwrite or not all(map(exists, item.files)):
                check_decoding(item.request)
        return item

    return plan_batch(path, to_item, folder=common.video_save_folder, share=share)


def _item(settings: TransferSettings, common: TransferRequest, row: Row, folder: Path) -> Item[TransferRequest]:
    request = _request(common, row, folder)
    try:
        check_request(settings, request)
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


def _request(common: TransferRequest, row: Row, folder: Path) -> TransferRequest:
    """The common request with what the row changes. Raises InputError for all that is wrong with the row."""
    values = dict(row.values)
    problems = [
        Problem("cannot differ from row to row.", f"{row.place}, {name}", "Give it on the command line.")
        for name in _OF_THE_RUN
        if values.pop(name, None) is not None
    ]
    problems += [] if "visual_input" in values else [Problem("is required.", f"{row.place}, visual_input")]
    visual_input = values.pop("visual_input", None)
    if visual_input is not None:
        values["input_video_path"] = visual_input
    overrides = values.pop("control_overrides", {})
    controls: dict[str, ControlSpec] = {}
    try:
        controls = _overridden(common, overrides, row, folder)
    except InputError as error:
        problems += error.problems
    values = {**dict(common), "video_save_name": f"video_{row.index}", **values, "controls": controls}
    try:
        [request] = validate(
            [TransferRequest],
            values,
            name_of=lambda name: _NAMES_IN_ROWS.get(name, name),
            where=row.place,
            not_offered=_OF_THE_RUN[1:],
        )
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError.from_problems(problems)
    assert isinstance(request, TransferRequest)
    if request.input_video_path is not None:
        request = request.model_copy(update={"input_video_path": beside(folder, request.input_video_path)})
    return request


def _overridden(common: TransferRequest, overrides: Any, row: Row, folder: Path) -> dict[str, ControlSpec]:
    """The controls of a row: each as in the specification, but for the keys that the row gives."""
    where = f"{row.place}, control_overrides"
    if not isinstance(overrides, dict) or not all(isinstance(value, dict) for value in overrides.values()):
        raise InputError('must be an object such as {"edge": {"control_weight": 0.5}}.', where=where)
    for name in overrides:
        if name not in common.controls:
            output.notice(f"{where}: the specification has no control {name!r}; it is left out")
    controls, problems = {}, []
    for name, control in common.controls.items():
        given = {key: getattr(control, key) for key in control.model_fields_set} | overrides.get(name, {})
        try:
            controls[name] = _found(as_control(given, f"{where}, {name}"), folder)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.from_problems(problems)
    return controls


def _found(control: ControlSpec, folder: Path) -> ControlSpec:
    paths = {key: getattr(control, key) for key in ("input_control", "control_weight")}
    return control.model_copy(
        update={key: beside(folder, value) for key, value in paths.items() if isinstance(value, Path | GivenFrames)}
    )


def _in_words_of_a_row(problem: Problem) -> Problem:
    where = problem.where or ""
    return Problem(problem.what, "visual_input" if where == "--input-video-path" else where, problem.fix)
