"""Batches of episodes: the files of a folder, each made realistic on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.engines import Engine
from cosmos_cli.batch.manifest import Row
from cosmos_cli.batch.plan import Item, plan_rows
from cosmos_cli.batch.plan import Plan as Rows
from cosmos_cli.errors import InputError, report_together
from cosmos_cli.files.missing import exists
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.files.paths import given_path
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.foresight import plan_jobs
from cosmos_cli.generation.plan import Plan, one_after_another
from cosmos_cli.runtime.workers.share import Share
from cosmos_plugins.transfer1.guided import inputs
from cosmos_plugins.transfer1.guided.episodes.layout import SUFFIXES
from cosmos_plugins.transfer1.guided.requests import GuidedRequest, GuidedSettings
from cosmos_plugins.transfer1.guided.samples import name_of, output_folder, output_paths
from cosmos_plugins.transfer1.prompts.two_views import names_a_file


def run(
    settings: GuidedSettings, common: GuidedRequest, *, engine: Engine | None = None, share: Share | None = None
) -> Report:
    """Make every episode of a folder realistic; finished ones of an earlier run are kept.

    Args:
        common: its `source_data_dir` is the folder, or one file; the rest holds for each of them.
        engine: what makes them; None for this machine.
        share: of the episodes, to make those alone; None for all.
    Raises:
        InputError: there is no folder, no episode, or none that can be used.
        CheckpointError: weights are missing.
    """
    rows = rows_of(settings, common, needs_weights=True, share=share)

    def load(requests: Sequence[GuidedRequest]) -> Any:
        from cosmos_plugins.transfer1.guided.pipeline import GuidedPipeline

        return GuidedPipeline.load(settings, requests)

    return run_batch(rows, load, ledger=_ledger(common), overwrite=common.overwrite, engine=engine, share=share)


def check_workers(settings: GuidedSettings, common: GuidedRequest, *, share: Share | None = None) -> None:
    """What `run` would refuse in each of several workers, their sharing of what is left to do included."""
    rows = rows_of(settings, common, needs_weights=True, share=share)
    left = left_to_do(rows, ledger=_ledger(common), overwrite=common.overwrite)
    check_sharing_many(settings, [work for item in left for work in inputs.works_of(settings, item.request)])


def plan(settings: GuidedSettings, common: GuidedRequest) -> Plan:
    """What `run` will do and cost with all good episodes; it says of the others what is wrong.

    Missing weights are part of the plan, no error. Raises InputError: as `run`, or there is no such device.
    """
    rows = rows_of(settings, common, needs_weights=False)
    plans = plan_jobs(settings, [job for item in rows.items for job in inputs.jobs_of(settings, item.request)])
    num_rows = len(rows.items) + len(rows.faults)
    wrong = [f"{len(rows.faults)} of {num_rows} episodes are wrong, and will not be made."] if rows.faults else []
    for fault in rows.faults:
        wrong += [f"wrong episode: {problem}" for problem in fault.problems]
    request = {"source_data_dir": str(common.source_data_dir), "num_episodes": num_rows}
    whole = one_after_another(plans, model=plans[0].model, request=request, faults=wrong)
    samples = [inputs.read(settings, item.request) for item in rows.items]
    # every process has its own
    waiting_bytes = settings.num_gpus * max(sample.scratch_bytes for sample in samples)
    return replace(
        whole,
        # an episode keeps all else that it holds
        output_bytes=whole.output_bytes + sum(sample.episode.path.stat().st_size for sample in samples),
        notices=(
            *whole.notices,
            f"up to {waiting_bytes / 1e6:,.1f} MB of frames that wait on the disk of the output while an episode is "
            "made, and as much again while the one before it is written.",
        ),
    )


def rows_of(
    settings: GuidedSettings, common: GuidedRequest, *, needs_weights: bool, share: Share | None = None
) -> Rows[GuidedRequest]:
    """The episodes, checked; arguments and errors as for `run`, where weights are needed."""
    inputs.check_common(settings, common)
    folder = output_folder(common)
    check_writable(folder / "data.hdf5", field="--output-data-dir", overwrite=True)
    if needs_weights:
        inputs.check_checkpoints(settings, common)
    assert common.source_data_dir is not None
    files = list(_episodes(common.source_data_dir, folder))
    if not files:
        raise InputError(
            f"holds no episode: no file that ends in {' or '.join(SUFFIXES)}.",
            where=str(common.source_data_dir),
            fix="Give the folder of the episodes, or one file.",
        )
    rows = [Row(str(file), index, {"source_data_dir": file}) for index, file in enumerate(files)]
    return plan_rows(common.source_data_dir, rows, lambda row: _item(settings, common, folder, row), share=share)


def _ledger(common: GuidedRequest) -> Path:
    return output_folder(common) / "guided.ledger.jsonl"


def _episodes(source: Path, folder: Path) -> Iterator[Path]:
    """The files of a folder in the order of their names, without those that an earlier run has put there."""
    if not source.is_dir():
        yield source
        return
    num_own, is_beside = 0, exists(folder) and folder.samefile(source)
    try:
        files = sorted(source.iterdir())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", where=str(source)) from error
    for file in files:
        if file.suffix.lower() not in SUFFIXES or file.name.startswith(".") or file.is_dir():
            continue
        if is_beside and inputs.is_made_here(file):
            num_own += 1
            continue
        yield file
    if num_own:
        output.notice(f"{num_own} of the episodes in {source} were made by an earlier run; they are left out")


def _item(settings: GuidedSettings, common: GuidedRequest, folder: Path, row: Row) -> Item[GuidedRequest]:
    of_row = {"source_data_dir": row.values["source_data_dir"], "output_data_dir": folder}
    if names_a_file(common.prompt):
        of_row["prompt"] = str(given_path(common.prompt).absolute())  # so that a sidecar holds from any folder
    request = common.model_copy(update=of_row)
    report_together(lambda: inputs.check_episode(request), lambda: inputs.check_no_original(request))
    return Item(
        name=name_of(request),
        place=row.place,
        index=row.index,
        request=request,
        files=tuple(output_paths(request).values()),
        key=f"{inputs.key_of(settings, request)} {name_of(request)}",
    )
