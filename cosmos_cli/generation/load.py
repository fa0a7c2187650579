"""Loading what a run needs: guardrails before anything else, then the networks where a memory plan wants them.

Training builds and fills its networks through the same functions of a family, see `BuildNetworks`, without a pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from cosmos_cli import output, registry
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.cache import Cache
from cosmos_cli.generation.settings import DIT, REFINER, TEXT, TOKENIZER, UNGUARDED, GenerationSettings
from cosmos_cli.generation.work import Rig, Work, asked_of, memory_stages
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.choice import load_guardrails
from cosmos_cli.models.context_parallel import ParallelNetwork, parallelise
from cosmos_cli.models.prompts import Refiner, encode_prompts
from cosmos_cli.models.t5 import CachedTextEncoder, check_encoder
from cosmos_cli.runtime.compiling import check_compilable, compile_blocks, uncompile_blocks
from cosmos_cli.runtime.devices import choose_device, choose_device_and_dtype, computing
from cosmos_cli.runtime.extensions import blaming
from cosmos_cli.runtime.memory.limit import DeviceMemory, limit_device
from cosmos_cli.runtime.memory.placement import (
    Descent,
    Lowerable,
    Placement,
    Stages,
    load_in_steps,
    loading_device,
    plan_for_device,
)
from cosmos_cli.runtime.memory.residence import RESIDENT, MemoryPlan, Residence, step_down
from cosmos_cli.runtime.memory.steps import read_steps
from cosmos_cli.runtime.workers.agreement import agree, deciding
from cosmos_cli.runtime.workers.team import Team

if TYPE_CHECKING:
    from cosmos_cli.models.chat import LocalChatModel

# B batch, L text tokens, D embedding width

_EMBEDDINGS_BYTES = 4 * 2**30
"""Some 10,000 prompts, or negative ones, of the largest encoder."""

D = TypeVar("D", bound=ParallelNetwork)
T = TypeVar("T")


@dataclass(frozen=True)
class Where:
    """Where networks are to be loaded, and how they compute.

    dit: also of the control branches.
    """

    dit: torch.device
    tokenizer: torch.device
    dtype: torch.dtype
    attention: str


@dataclass(frozen=True)
class Built(Generic[D, T]):
    """The networks of a family, filled with their weights.

    tokenizer: a network, or what has one as its `network`.
    branches: control branches, by the file that each came from.
    """

    dit: D
    tokenizer: T
    branches: Mapping[Path, Any] = field(default_factory=dict)

    @property
    def denoising(self) -> list[ParallelNetwork]:
        """The DiT and the branches that go along with it."""
        return [self.dit, *self.branches.values()]

    @property
    def tokenizer_network(self) -> nn.Module:
        tokenizer: Any = self.tokenizer
        network: nn.Module = getattr(tokenizer, "network", tokenizer)
        return network


class BuildNetworks(Protocol[D, T]):
    """What a family's `networks.py` hands in: builds the networks of some settings, there and in that precision.

    Raises CheckpointError where weights are missing, damaged or of another network.
    """

    def __call__(self, where: Where, /) -> Built[D, T]: ...


@dataclass(frozen=True)
class OwnRefiner:
    """A chat model in this process that rewrites prompts, loaded and placed like the other networks.

    load: the model on a device; raises CheckpointError. refine: rewrites with it.
    """

    name: str
    load: Callable[[torch.device], LocalChatModel]
    refine: Callable[[LocalChatModel], Refiner]


@dataclass(frozen=True)
class Models(Generic[D, T]):
    """Everything that is ready to work: networks where a memory plan wants them, and the processes that share them.

    text_encoder: None for models without text.
    refiners: name to what rewrites prompts; the first is used.
    """

    dit: D
    tokenizer: T
    branches: Mapping[Path, Any]
    text_encoder: CachedTextEncoder | None
    stages: Stages
    team: Team
    guardrails: Guardrails
    refiners: Mapping[str, Refiner]
    device: torch.device
    dtype: torch.dtype

    def check_branches(self, files: Mapping[str, Path]) -> None:
        """Raises InputError: the branch of a control is not loaded.

        Args:
            files: modality to the file of its branch.
        """
        missing = [name for name, file in files.items() if file not in self.branches]
        if missing:
            raise InputError(f"the loaded model has no branch for {', '.join(missing)}.", where="controls")

    def encode_text(self, text: str) -> Tensor:
        """The context of one text as the DiT reads it, (1, L, D); for models that read texts."""
        assert self.text_encoder is not None
        return self.text_encoder.encode(text)[0].to(self.device, self.dtype)

    def encode_prompts(self, prompt: str, negative_prompt: str) -> tuple[Tensor, Tensor]:
        """The two texts as the DiT reads them, (1, L, D) each; for models that read texts."""
        assert self.text_encoder is not None
        return encode_prompts(self.text_encoder, prompt, negative_prompt, self.device, self.dtype)


def load_models(
    settings: GenerationSettings,
    works: Sequence[Work],
    guardrails: Guardrails,
    build: BuildNetworks[D, T],
    *,
    what: str,
    refiner: OwnRefiner | None = None,
    refiners: Callable[[], Mapping[str, Refiner]] = dict,
) -> Models[D, T]:
    """The networks that `build` makes, placed; the text encoder follows when a prompt is not in the cache.

    Every process of a run must call this.

    Args:
        works: what the model will be asked, by which memory and the processes are planned.
        guardrails: those of the run, see `checked_guardrails`.
        what: is loaded, in words.
        refiner, refiners: what rewrites prompts: a model that is loaded here, or else what builds others, by name.
    Raises:
        CheckpointError: weights are missing, damaged or of another network.
        InputError: the device or the attention backend is not to be had, the processes cannot share the work, or the
            budget of memory is too small.
        OutOfMemory: the device of this process is too small for a plan that all follow.
        CosmosError: it is too small for the lowest plan too.
    """
    device, dtype = choose_device_and_dtype(settings)
    networks = works[0].networks
    team = Team.form(device, settings.parallel, **asked_of(works))
    if team.is_writer:
        guardrails.load()  # rank 0 has; in a group of its own another process checks
    with deciding(team.circle):
        others = _built_by_one(refiners)
    memory = limit_device(device, settings.max_memory_bytes)
    if networks.text_folder is not None:
        check_encoder(networks.text_folder, settings.text_weights)  # it is loaded late, or never: damage shows now
    rig = Rig.of(settings, device.type, team.layout.cp)
    budget_bytes = memory.limit_bytes or settings.max_memory_bytes
    stages_of_run = memory_stages(works, rig, settings.offloaded)
    plan = plan_for_device(device, budget_bytes, stages_of_run, least=team.least)
    if settings.compile:
        check_compilable(team.layout.cp, is_resident=plan[DIT] == RESIDENT)
    for _ in range(read_steps()):
        plan = step_down(plan) or plan

    def is_compiled(plan: MemoryPlan) -> bool:
        return settings.compile and plan[DIT] == RESIDENT

    def words(plan: MemoryPlan) -> str:
        return f"{plan}, not compiled" if settings.compile and not is_compiled(plan) else str(plan)

    descent = Descent(device, is_alone=team.layout.cfg * team.layout.cp == 1, words=words)

    def load(plan: MemoryPlan) -> Models[D, T]:
        placed: dict[str, Lowerable] = {}
        rewriting = others
        if refiner is not None and not team.is_writer:
            rewriting = {refiner.name: _elsewhere}
        elif refiner is not None:
            # before the DiT, so that damage shows early
            placed[REFINER], rewriting = _load_refiner(refiner, device, plan, memory)
        with output.progress(f"Loading {what} on {device}, {words(plan)}"):
            on = [loading_device(plan[stage], device) for stage in (DIT, TOKENIZER)]
            built = build(Where(on[0], on[1], dtype, settings.attention))
        for network in built.denoising:
            parallelise(network, team.token_group)
        placed[TOKENIZER] = Placement([built.tokenizer_network], device, plan[TOKENIZER], memory)
        placed[DIT] = Placement(built.denoising, device, plan[DIT], memory)
        text_encoder = None
        if networks.text_folder is not None:
            text_encoder = placed[TEXT] = CachedTextEncoder(
                networks.text_folder,
                Cache(settings.cache_folder, "text-embeddings", limit_bytes=_EMBEDDINGS_BYTES),
                dtype=getattr(torch, settings.text_precision),
                device=device,
                form=settings.text_weights,
                residence=plan[TEXT],
                memory=memory,
                on_load=lambda: output.status("Loading the text encoder"),
            )
        if is_compiled(plan):
            for network in built.denoising:
                compile_blocks(network)
            placed[DIT] = _Compiled(placed[DIT], built.denoising)
        stages = Stages(plan, placed, descent)
        if refiner is not None:
            rewriting = {name: _in_its_stage(refine, stages) for name, refine in rewriting.items()}
        return Models(
            built.dit,
            built.tokenizer,
            built.branches,
            text_encoder,
            stages,
            team,
            guardrails,
            {name: _by_one(refine, stages, name) for name, refine in rewriting.items()},
            device,
            dtype,
        )

    return load_in_steps(load, plan, descent)


@dataclass(frozen=True)
class _Compiled:
    """Networks that are compiled as long as they stay on the device."""

    placed: Lowerable
    networks: Sequence[nn.Module]

    def lower(self, residence: Residence) -> None:
        if residence != RESIDENT:
            for network in self.networks:
                uncompile_blocks(network)
        self.placed.lower(residence)

    def at_work(self, working_bytes: int = 0) -> AbstractContextManager[None]:
        return self.placed.at_work(working_bytes)


def installed_refiners(settings: GenerationSettings) -> dict[str, Refiner]:
    """What other packages bring to rewrite prompts, by name. Raises CosmosError: one of them cannot be built."""
    refiners = registry.current().create_extensions(
        "prompt_refiners",
        device=str(choose_device(settings.device)),
        offload=REFINER in settings.offloaded or settings.max_memory is not None,
        checkpoint_dir=settings.checkpoint_dir,
        settings=settings,
    )
    return {name: _blamed(refine, f"prompt refiner {name}") for name, refine in refiners.items()}


def _blamed(refine: Refiner, who: str) -> Refiner:
    def ask(*given: Any) -> str:
        with blaming(who):
            text = refine(*given)
        if not isinstance(text, str):
            raise CosmosError(f"returned {type(text).__name__}, not a prompt.", where=who)
        return text

    return ask


def _load_refiner(
    refiner: OwnRefiner, device: torch.device, plan: MemoryPlan, memory: DeviceMemory
) -> tuple[Placement, dict[str, Refiner]]:
    with output.progress(f"Loading the {REFINER} {refiner.name}"):
        chat = refiner.load(loading_device(plan[REFINER], device))
    # it is copied whole: a helper works once per video
    placement = Placement([chat.network], device, plan[REFINER], memory, blocks=[nn.ModuleList()])
    return placement, {refiner.name: refiner.refine(chat)}


def _built_by_one(refiners: Callable[[], Mapping[str, Refiner]]) -> dict[str, Refiner]:
    """Refiners that one process builds, for it alone will ask them."""
    built: dict[str, Refiner] = {}

    def build() -> list[str]:
        built.update(refiners())
        return list(built)

    return {name: built.get(name, _elsewhere) for name in agree(build, "building the prompt refiners")}


def _elsewhere(*_: Any) -> str:
    raise AssertionError("the refiner is loaded in the process that asks it")


def _in_its_stage(refine: Refiner, stages: Stages) -> Refiner:
    def at_work(*given: Any) -> str:
        with stages.at_work(REFINER):
            return refine(*given)

    return at_work


def _by_one(refine: Refiner, stages: Stages, name: str) -> Refiner:
    """Asks one refiner for all processes that make a video: the next answer would be another."""

    def ask(*given: Any) -> str:
        # out of memory, all step down: so agreeing stands within
        return stages.run(lambda: agree(lambda: refine(*given), f"refining the prompt with {name}"))

    return ask


def checked_guardrails(settings: GenerationSettings, prompts: Iterable[Iterable[str]] = ()) -> Guardrails:
    """The guardrails of a run, none if they are disabled; to be made before any network is loaded.

    Args:
        prompts: of each request.
    Raises:
        GuardrailBlocked: all requests are refused.
        CheckpointError: files of the guardrails are missing or damaged.
    """
    if not settings.is_guarded:
        return Guardrails({}, gap=UNGUARDED)
    device = choose_device(settings.device)
    with computing(device, settings.shortcuts):
        guardrails = load_guardrails(
            settings.checkpoint_dir,
            settings,
            is_published=not settings.is_tiny,
            device=device,
            offload=settings.offloads_guardrails,
            min_safe_share=settings.min_safe_share,
            safe_classes=settings.safe_classes,
        )
        guardrails.check_ahead(prompts)
    return guardrails
