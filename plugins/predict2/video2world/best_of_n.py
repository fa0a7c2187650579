"""Best of N: several videos of one request, judged by a critic, best first; and the same for videos that are there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import output
from cosmos_cli.batch.engine import Outcome, Report, left_to_do, run_batch
from cosmos_cli.batch.engines import Engine
from cosmos_cli.batch.ledger import read_ledger
from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.plan import Plan as Batch
from cosmos_cli.errors import CosmosError, InputError, report_together
from cosmos_cli.files.documents import MAX_SIDECAR_BYTES, read_json
from cosmos_cli.files.outputs import check_writable, clear_up
from cosmos_cli.files.transactions import finish_all_interrupted, remove_together
from cosmos_cli.generation.checks import check_sharing_many
from cosmos_cli.generation.plan import Plan
from cosmos_cli.requests import as_request
from cosmos_cli.runtime.workers.agreement import agree
from cosmos_cli.runtime.workers.launch import spread
from cosmos_cli.runtime.workers.rank import find_rank
from cosmos_plugins.predict2.critic.choice import choose_critic, load_critic
from cosmos_plugins.predict2.critic.files import COMPANIONS, find_judged, find_videos, namesakes
from cosmos_plugins.predict2.critic.judgement import Judgement, best
from cosmos_plugins.predict2.critic.requests import CriticRequest, CriticSettings, Judging
from cosmos_plugins.predict2.video2world.batch import make_item, plan_many
from cosmos_plugins.predict2.video2world.inputs import (
    check_checkpoints,
    check_length,
    check_settings,
    key_of,
    prompts_of,
    read_conditioning_frames,
    work_of,
)
from cosmos_plugins.predict2.video2world.requests import BestOfNOptions, Video2WorldRequest, Video2WorldSettings

if TYPE_CHECKING:
    from cosmos_cli.generation.pipeline import Generated
    from cosmos_cli.generation.record import VideoResult
    from cosmos_cli.guardrails import Guardrails
    from cosmos_cli.runtime.workers.team import Team
    from cosmos_plugins.predict2.video2world.inputs import Sample
    from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline

REPORT_NAME = "report.html"
LEDGER_NAME = "best-of-n.ledger.jsonl"


@dataclass(frozen=True)
class Generation:
    """What became of one seed. status: as in a batch. video: under the name that it has now; None if there is none."""

    seed: int
    status: str
    seconds: float
    error: str
    video: Path | None


@dataclass(frozen=True)
class Ranking:
    """Judged videos, best first.

    critic: its name among the plugins. report: the page about all of them; None if there was nothing to judge.
    generations: how the videos came about, if they were made in this run.
    generation_exit_code: what the command ends with if nothing fails after the videos are made.
    """

    judgements: tuple[Judgement, ...]
    critic: str
    report: Path | None
    generations: tuple[Generation, ...] = ()
    generation_exit_code: int = 0

    @property
    def exit_code(self) -> int:
        """0; 1 if a video failed, or could not be judged; 3 if all that is missing was blocked by guardrails."""
        if any(judgement.error for judgement in self.judgements):
            return CosmosError.exit_code
        return self.generation_exit_code

    def summary(self) -> str:
        """A table for people, and which video is best."""
        rows = [
            (str(rank), "-" if one.score is None else str(one.score), str(one.video), one.error)
            for rank, one in enumerate(self.judgements, start=1)
        ]
        rows += [("-", "-", f"seed {one.seed}", f"{one.status}: {one.error}") for one in self.generations if one.error]
        lines = [output.table(("RANK", "SCORE", "VIDEO", "ERROR"), rows)]
        winners = [str(one.video) for one in best(self.judgements)]
        if winners:
            lines.append(f"best{', tied' * (len(winners) > 1)}: {', '.join(winners)}")
        if self.report is not None:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "status": "ok" if self.exit_code == 0 else "failed",
            "exit_code": self.exit_code,
            "best": [str(one.video) for one in best(self.judgements)],
            "videos": [one.document() for one in self.judgements],
            "generations": [asdict(one) for one in self.generations],
            "critic": self.critic,
            "report": self.report,
        }


def run(
    settings: Video2WorldSettings, options: BestOfNOptions, judging: Judging, *, engine: Engine | None = None
) -> Ranking:
    """Make videos with the seeds from `options.seed` on, then judge them; what an earlier run has finished is kept.

    Args:
        engine: what makes the videos; None for this machine, which judges them in any case.
    Raises:
        InputError: the request is wrong; or there is nothing to judge, if nothing shall be made.
        CheckpointError: weights of the model or of the critic are missing.
    """
    if options.skip_generation:
        settings.check_single()
        find_videos([options.save_path])
        name = choose_critic(judging.critic, settings.checkpoint_dir, is_tiny=settings.model_size == "tiny")
        return _judge([options.save_path], name, options.seed, judging, settings, options.save_path, together=True)
    requests = _requests(settings, options)
    check_checkpoints(settings)
    # before hours of generation, not after
    name = choose_critic(judging.critic, settings.checkpoint_dir, is_tiny=settings.model_size == "tiny")
    with spread(settings.num_gpus, settings.device) if engine is None else nullcontext():
        made = _generate(settings, requests, options, engine)
    place = find_rank()
    if place is not None and place.rank:
        return Ranking((), name, None, generation_exit_code=made.exit_code)  # the first process judges and tells

    from cosmos_cli.runtime.memory.offload import release_memory

    release_memory()  # the pipeline and a critic of the same size may not fit one device together
    done = [requests[outcome.index] for outcome in made.outcomes if outcome.status in ("done", "done before")]
    videos = [video for request in done if (video := find_judged(request.save_path))]
    ranking = Ranking((), name, None)
    if videos:
        if engine is not None and settings.device != "cpu":  # that machine may have no GPU
            settings = settings.model_copy(update={"device": "auto"})
        ranking = _judge(videos, name, options.seed, judging, settings, options.save_path, together=True)
    generations = [
        Generation(request.seed, outcome.status, outcome.seconds, outcome.error, find_judged(request.save_path))
        for request, outcome in zip(requests, made.outcomes, strict=True)
    ]
    return replace(ranking, generations=tuple(generations), generation_exit_code=made.exit_code)


def check_sharing(settings: Video2WorldSettings, options: BestOfNOptions) -> None:
    """What `run` would refuse in each of several workers: their sharing of what is left to do."""
    requests = _requests(settings, options)
    check_checkpoints(settings)
    batch = Batch(options.save_path, tuple(_missing(settings, requests, options)[0]), ())
    left = left_to_do(batch, ledger=options.save_path / LEDGER_NAME, overwrite=options.overwrite)
    check_sharing_many(settings, [work_of(settings, item.request) for item in left])


def plan(settings: Video2WorldSettings, options: BestOfNOptions) -> Plan:
    """What the videos of `run` will cost, without the critic.

    Raises:
        InputError: the request is wrong, or nothing shall be made.
    """
    if options.skip_generation:
        raise InputError("leaves nothing to plan.", where="--skip-generation", fix="Leave out it or --plan.")
    requests = _requests(settings, options)
    of_one = {"input_path": str(requests[0].input_path), "num_generations": len(requests), "seed": options.seed}
    planned = plan_many(settings, requests, command="best-of-n", request={**of_one, "output": str(options.save_path)})
    return replace(planned, notices=(*planned.notices, "the critic"))


def judge(settings: CriticSettings, request: CriticRequest, judging: Judging) -> Ranking:
    """Judge videos that are there.

    Raises:
        InputError: there is nothing to judge.
        CheckpointError: the critic's weights are missing.
    """
    first = find_videos(request.video_or_folder)[0]
    folder = request.report or first.parent
    check_writable(folder / REPORT_NAME, field="--report", overwrite=True)
    name = choose_critic(judging.critic, settings.checkpoint_dir)
    return _judge(request.video_or_folder, name, request.seed, judging, settings, folder)


def _judge(
    paths: Sequence[Path],
    name: str,
    seed: int,
    judging: Judging,
    settings: CriticSettings | Video2WorldSettings,
    folder: Path,
    *,
    together: bool = False,
) -> Ranking:
    from cosmos_cli.runtime.devices import choose_device, computing
    from cosmos_plugins.predict2.critic.run import judge_videos

    with computing(choose_device(settings.device)):
        critic = load_critic(name, settings)
        judgements = judge_videos(
            paths,
            critic,
            num_trials=judging.num_critic_trials,
            seed=seed,
            folder=folder,
            again=judging.again,
            together=together,
        )
    return Ranking(tuple(judgements), name, folder / REPORT_NAME)


def _requests(settings: Video2WorldSettings, options: BestOfNOptions) -> list[Video2WorldRequest]:
    """One request per seed, checked as far as that goes without a model."""
    folder, common = options.save_path, as_request(Video2WorldRequest, options)
    requests = []
    for seed in range(options.seed, options.seed + options.num_generations):
        save_path = folder / f"{common.input_path.stem}_seed{seed}.mp4"
        requests.append(as_request(Video2WorldRequest, options, seed=seed, save_path=save_path))
    report_together(
        lambda: check_settings(settings),
        lambda: check_length(settings, common),
        lambda: check_writable(folder / REPORT_NAME, field="--save-path", overwrite=True),
        lambda: read_conditioning_frames(common),
    )
    return requests


def _missing(
    settings: Video2WorldSettings, requests: Sequence[Video2WorldRequest], options: BestOfNOptions
) -> tuple[list[Item[Video2WorldRequest]], list[Outcome]]:
    """The videos that are not there yet, under whatever score, and what has become of the others already."""
    finish_all_interrupted(options.save_path)
    ledger = read_ledger(options.save_path / LEDGER_NAME)
    outcomes: list[Outcome] = []
    items: list[Item[Video2WorldRequest]] = []
    for index, request in enumerate(requests):
        item = make_item(
            settings,
            request,
            name=request.save_path.stem,
            place=f"seed {request.seed}",
            index=index,
            folder=options.save_path,
        )
        for file in item.files:
            clear_up(file)
        there = None if options.overwrite else find_judged(request.save_path)
        tells_so = there is not None and _is_of(there, settings, request)
        # None without a line about it: what the sidecar tells is all there is then
        is_written = None if there is None else ledger.has_written(item, request.save_path, now_at=there)
        if tells_so and is_written is not False:
            outcomes.append(Outcome(item.name, item.place, index, "done before"))
        elif there is not None and there != request.save_path and not (tells_so or is_written):
            error = f"{there} exists already, from another request. Choose another --save-path, or pass --overwrite."
            outcomes.append(Outcome(item.name, item.place, index, "failed", error=error))
        else:
            items.append(item)
    return items, outcomes


def _generate(
    settings: Video2WorldSettings,
    requests: Sequence[Video2WorldRequest],
    options: BestOfNOptions,
    engine: Engine | None,
) -> Report:
    """Make the videos that are not there yet; one that fails does not stop the others."""
    items, outcomes = agree(lambda: _missing(settings, requests, options), "looking at the videos that are there")
    for outcome in outcomes:
        if outcome.error:
            output.status(f"{outcome.name}: {outcome.error}")
    if num_before := sum(outcome.status == "done before" for outcome in outcomes):
        output.status(f"{num_before} of {len(requests)} videos were made by an earlier run")

    guardrails: list[Guardrails] = []
    if items and engine is None:
        from cosmos_cli.generation.load import checked_guardrails

        # all have one prompt: if it is refused, that is the answer and not a line for each
        guardrails.append(checked_guardrails(settings, {tuple(prompts_of(settings, item.request)) for item in items}))

    def load(todo: Sequence[Video2WorldRequest]) -> Any:
        from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline

        return _Generator(Video2WorldPipeline.load(settings, todo, *guardrails))

    batch = Batch(options.save_path, tuple(items), ())
    # the critic's page is the one that this folder gets
    ledger = options.save_path / LEDGER_NAME
    report = run_batch(batch, load, ledger=ledger, overwrite=options.overwrite, engine=engine, writes_page=False)
    ordered = sorted((*outcomes, *report.outcomes), key=lambda outcome: outcome.index)
    return replace(report, outcomes=tuple(ordered))


def _is_of(video: Path, settings: Video2WorldSettings, request: Video2WorldRequest) -> bool:
    """Whether the sidecar of a video tells that it was made of this very request and input."""
    try:
        sidecar = read_json(video.with_suffix(".json"), limit=MAX_SIDECAR_BYTES)
    except InputError:
        return False
    return isinstance(sidecar, dict) and sidecar.get("work_key") == key_of(settings, request)


class _Generator:
    """A pipeline whose videos take the place of those that carry a score under the same name."""

    def __init__(self, pipeline: Video2WorldPipeline) -> None:
        self._pipeline = pipeline

    @property
    def team(self) -> Team:
        return self._pipeline.team

    def prepare(self, request: Video2WorldRequest) -> Sample:
        return self._pipeline.prepare(request)

    def make(self, sample: Sample) -> Generated[Sample]:
        return self._pipeline.make(sample)

    def write(self, made: Generated[Sample]) -> VideoResult:
        result = self._pipeline.write(made)
        for former in namesakes(result.video) if self.team.is_writer else ():
            if former != result.video:
                for suffix in (*COMPANIONS, former.suffix):
                    remove_together(former.with_suffix(suffix))
        return result
