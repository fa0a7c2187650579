"""What the commands of every kind call: plan or make one request, and tell of it. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from cosmos_cli import output, registry
from cosmos_cli.errors import InputError
from cosmos_cli.files.copies import folder_in
from cosmos_cli.files.missing import lies_there
from cosmos_cli.files.pipes import check_kept_for_later
from cosmos_cli.files.side_work import side_work
from cosmos_cli.files.stores import keep_copies_in, looking, stored
from cosmos_cli.generation.outputs import making_together, numbered
from cosmos_cli.generation.slurm import array_file
from cosmos_cli.import_strings import resolve
from cosmos_cli.runtime.machine import parse_device
from cosmos_cli.runtime.workers.agreement import together
from cosmos_cli.runtime.workers.launch import check_workers, spread
from cosmos_cli.runtime.workers.layout import one_at_a_time
from cosmos_cli.runtime.workers.rank import arguments, find_rank
from cosmos_cli.runtime.workers.share import MAX_SHARES, Share
from cosmos_cli.settings import Engines, OneOutput, Planning, Spreading

if TYPE_CHECKING:
    from cosmos_cli.generation.pipeline import Inputs
    from cosmos_cli.generation.plan import Plan


class Reported(Protocol):
    """What became of several things."""

    @property
    def exit_code(self) -> int: ...
    def summary(self) -> str: ...
    def document(self) -> Any: ...


def run(inputs: Inputs, settings: Any, request: Any, planning: Planning) -> None:
    """Make one picture or video and tell of it, or say what that would cost."""
    if isinstance(planning, OneOutput) and planning.numbered:
        request = numbered(request)
    if planning.plan:
        tell_plan(lambda: plan_one(inputs, settings, request), planning)
    else:
        make_one(inputs, settings, request)


def plan_one(inputs: Inputs, settings: Any, request: Any) -> Plan:
    """Check a request as far as that goes without its frames, and say what it will cost.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    from cosmos_cli.generation.checks import OTHER_OUTPUT

    # an output that is there is part of the plan too
    inputs.check(settings, request.model_copy(update={"overwrite": True}), needs_weights=False)
    kind: Any = inputs
    planned: Plan = (
        kind.plan_of(settings, request) if hasattr(kind, "plan_of") else _plans_of(kind, settings, request)[0]
    )
    path = stored(Path(planned.request["output"]))
    if request.overwrite or not lies_there(path):
        return planned
    return replace(planned, faults=(*planned.faults, f"{path} exists already. {OTHER_OUTPUT}"))


def _plans_of(kind: Any, settings: Any, request: Any) -> Sequence[Plan]:
    """What each of the models that work for a request will cost; the request was checked."""
    from cosmos_cli.generation.foresight import plan_job

    if hasattr(kind, "plans_of"):
        plans: Sequence[Plan] = kind.plans_of(settings, request)
        return plans
    return [plan_job(settings, kind.job_of(settings, request))]


def make_one(inputs: Inputs, settings: Any, request: Any) -> None:
    """Make one picture or video, and tell of it."""
    # before workers start and before the pipeline is even imported: a wrong request costs no time
    _require_guardrails(settings)
    _keep_copies(settings)
    check_workers(settings.num_gpus, settings.device)
    read = inputs.check(settings, request)
    with spread(settings.num_gpus, settings.device):
        from cosmos_cli.generation.load import checked_guardrails

        # what is free on a GPU is planned with, so before anything is there; several workers share no clock
        plans: Sequence[Plan] = ()
        with side_work("this run is not planned"):
            plans = _plans_of(inputs, settings, request) if settings.num_gpus == 1 else ()
        # before networks compute what is missing of the input
        guardrails = checked_guardrails(settings, [inputs.prompts_of(settings, request)])
        check_networks: Callable[[Any, Any], None] | None = getattr(inputs, "check_networks", None)
        if check_networks is not None:
            together(lambda: check_networks(settings, request))
        sample = together(read)
        with making_together(sample.outputs.values(), overwrite=request.overwrite):
            pipeline = resolve(inputs.PIPELINE, needed_by=inputs.PIPELINE).load(settings, [request], guardrails)
            result = pipeline.run(sample, plans=plans)
    output.result(result.summary(), {"status": "ok", **result.document()})


def make_many(
    settings: Any,
    run: Callable[..., Reported],
    *,
    check: Callable[[Share | None], None] = lambda share: None,
    spreading: Spreading,
) -> None:
    """Make several pictures or videos with one model, and tell of them.

    Args:
        settings: `MachineSettings`, or those of a package that say less: without `is_guarded` what it makes is guarded,
            without `num_gpus` each model is on one device, without `device` on the CPU.
        run: makes them, given an `engine` of batches, None for that of this machine, and the `share` of the rows.
        check: refuses what each of several workers would that make a share; asked before they start.
    Raises:
        InputError: the engine is none, or cannot work like this.
        typer.Exit: something failed.
    """
    num_gpus, device = getattr(settings, "num_gpus", 1), getattr(settings, "device", "cpu")
    if spreading.slurm:
        _check_array(spreading, device)
        output.text(array_file(arguments(), device, num_gpus, spreading))
        return
    share = Share.parse(spreading.share) if spreading.share else None
    engine = ready_engine(settings, spreading, lambda: check(share))
    with spread(num_gpus, device) if engine is None else nullcontext():
        report = run(engine=engine, share=share)
    tell_report(report)


def ready_engine(settings: Any, engines: Engines, check: Callable[[], None]) -> Any:
    """The engine of batches that shall make many, None for that of this machine; what it would refuse is refused here.

    Arguments and errors as for `make_many`.
    """
    num_gpus, device = getattr(settings, "num_gpus", 1), getattr(settings, "device", "cpu")
    _require_guardrails(settings)
    _keep_copies(settings)
    if engines.is_local:
        if engines.num_workers is not None:
            raise InputError("is for other engines.", where="--num-workers", fix="Give --engine, or use --num-gpus.")
        if check_workers(num_gpus, device) is None and num_gpus > 1:
            check()
        return None
    _check_alone(engines)
    known, num_workers = registry.current(), engines.num_workers
    engine = known.create_engine(engines.engine, settings=settings, num_workers=num_workers)
    if num_gpus > 1:
        _check_shares(engine, num_gpus, engines)
        with one_at_a_time():
            check()
    return engine


def _check_array(spreading: Spreading, device: str) -> None:
    if not spreading.is_local:
        raise InputError(
            f"divides the rows by itself, and needs no engine {spreading.engine}.",
            where="--slurm",
            fix="Pass --engine local, or leave out --slurm.",
        )
    if spreading.share is not None:
        raise InputError("gives every task a share.", where="--slurm", fix="Leave out --share.")
    check_kept_for_later(arguments())
    if parse_device(device)[1] is not None:
        raise InputError(
            "names one GPU, but Slurm chooses for each task, which sees no others.", where="--device", fix="Use cuda."
        )
    if (spreading.num_workers or 1) > MAX_SHARES:
        raise InputError(f"asks for more tasks than {MAX_SHARES:,}.", where="--num-workers", fix="Ask for fewer.")


def _check_shares(engine: Any, num_gpus: int, engines: Engines) -> None:
    if not getattr(engine, "shares_items", False):
        raise InputError(
            f"{num_gpus} GPUs cannot share a video with --engine {engines.engine}: each makes its own.",
            where="--num-gpus",
            fix="Leave it out; --num-workers limits the number of GPUs.",
        )


def _check_alone(engines: Engines) -> None:
    if (own := find_rank()) is not None:
        raise InputError(
            f"{own.launcher} started {own.world_size} of this command, and one is enough.",
            where=f"--engine {engines.engine}",
            fix=f"Start it without {own.launcher}.",
        )


def _require_guardrails(settings: Any) -> None:
    """Building them finds it out too, but only when workers have started. Raises GuardrailBlocked."""
    if getattr(settings, "is_guarded", True):
        registry.current().require_guardrails()


def _keep_copies(settings: Any) -> None:
    """Have copies of what lies in stores where the settings have all that is kept."""
    if (folder := getattr(settings, "cache_folder", None)) is not None:
        keep_copies_in(folder_in(folder))


def tell_plan(plan: Callable[[], Plan], planning: Planning, engines: Engines | None = None) -> None:
    """Say what a run would cost, on this machine or on the one that the user names.

    Args:
        engines: of what makes many. What another engine than that of this machine loads makes one at a time.
    """
    is_elsewhere = engines is not None and not engines.is_local
    with planning.machine(), looking(), one_at_a_time() if is_elsewhere else nullcontext():
        planned = plan()
    if engines is not None and is_elsewhere:
        planned = replace(planned, notices=(*planned.notices, *_unknown_of(engines, planning)))
    output.result(planned.text(), {"status": "ok", **planned.document()})


def _unknown_of(engines: Engines, planning: Planning) -> list[str]:
    """What a plan for another engine leaves out."""
    found = [f"the sharing among the models of --engine {engines.engine}: time is that of one alone"]
    if planning.plan_for is None:
        found.append("the nodes of the cluster, which are not known here: all is planned for this machine")
    return found


def tell_report(report: Reported) -> None:
    """Raises typer.Exit: something failed."""
    output.result(report.summary(), report.document())
    if report.exit_code:
        raise typer.Exit(report.exit_code)
