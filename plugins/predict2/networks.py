"""Loading what the models are made of, the guardrails before anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.checkpoints.loading import load_network, wanted_keys
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.choice import load_guardrails
from cosmos_cli.models.configs import MinimalDiTConfig, WanVAEConfig
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.prompts import encode_prompts
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.runtime.compiling import check_compilable, compile_blocks
from cosmos_cli.runtime.devices import choose_device
from cosmos_cli.runtime.memory.limit import limit_device
from cosmos_cli.runtime.memory.placement import (
    Lowerable,
    Placement,
    Stages,
    load_in_steps,
    loading_device,
    plan_for_device,
)
from cosmos_cli.runtime.memory.residence import RESIDENT, MemoryPlan
from cosmos_cli.runtime.workers.team import Team
from cosmos_plugins.predict2.checks import Weights
from cosmos_plugins.predict2.memory import DIT, TEXT, TOKENIZER, plan_stages
from cosmos_plugins.predict2.requests import Video2WorldSettings
from cosmos_plugins.predict2.settings import DitSettings, RunSettings, TextSettings

# B batch, L text tokens, D embedding width

M = TypeVar("M", bound=MinimalDiT)

MIN_SAFE_SHARE = 1.0
"""Of the frames of a video that may be written."""


@dataclass(frozen=True)
class Asked:
    """What a model will be asked, as far as its memory and its processes must know.

    size_px: frames, height and width of the longest clip and the largest picture.
    num_items: pictures or videos to make.
    guided: whether any of them has two halves of guidance.
    num_clips: clips that are denoised together, such as views.
    """

    size_px: tuple[int, int, int]
    num_items: int
    guided: bool
    num_clips: int = 1


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """A model that is ready to work: its networks where a memory plan wants them, and the processes that share them.

    text_encoder: None for a model without text.
    """

    dit: M
    vae: WanVAE
    text_encoder: CachedTextEncoder | None
    stages: Stages
    team: Team
    guardrails: Guardrails
    device: torch.device
    dtype: torch.dtype

    def encode_prompts(self, prompt: str, negative_prompt: str) -> tuple[Tensor, Tensor]:
        """The two texts as the DiT reads them, (1, L, D) each; for models that read texts."""
        assert self.text_encoder is not None
        return encode_prompts(self.text_encoder, prompt, negative_prompt, self.device, self.dtype)


def load_model(
    settings: DitSettings | Video2WorldSettings,
    weights: Weights,
    guardrails: Guardrails,
    config: MinimalDiTConfig,
    build: Callable[[], M],
    vae_config: WanVAEConfig,
    asked: Asked,
    *,
    device: torch.device,
    dtype: torch.dtype,
    ema: bool,
    finish: Callable[[M], None] = lambda dit: None,
) -> Loaded[M]:
    """The DiT that `build` makes and the tokenizer, filled; the text encoder follows when a prompt is not in the cache.

    Every process of a run must call this.

    Args:
        guardrails: those of the run, which are loaded before.
        config: of the DiT.
        ema: take the averaged weights.
        finish: changes the DiT's weights before they are placed, as a LoRA does.
    Raises:
        CheckpointError: weights are missing, damaged or of another network.
        InputError: the processes cannot share the work, or the budget of memory is too small.
    """
    has_text = isinstance(settings, TextSettings | Video2WorldSettings)
    text_dtype = torch.bfloat16 if has_text and settings.downcast_text_encoder else torch.float32

    def build_vae() -> WanVAE:
        return WanVAE(vae_config)

    team = Team.form(
        device,
        settings.parallel,
        num_heads=config.num_heads,
        num_items=asked.num_items,
        guided=asked.guided,
    )
    may_step_down = team.mesh is None and not settings.compile
    memory = limit_device(device, settings.max_memory_bytes)
    plan = plan_for_device(
        device,
        memory.limit_bytes or settings.max_memory_bytes,
        plan_stages(
            build,
            config,
            build_vae,
            weights.text_encoder if has_text else None,
            size_px=asked.size_px,
            num_clips=asked.num_clips,
            dtype=dtype,
            text_dtype=text_dtype,
            offload_text_encoder=has_text and settings.offload_text_encoder,
            offload_dit=settings.offload_diffusion_transformer,
        ),
    )
    if settings.compile:
        check_compilable(team.layout.cp, is_resident=plan[DIT] == RESIDENT)

    def load(plan: MemoryPlan) -> Loaded[M]:
        with output.progress(f"Loading {settings.model_size} on {device}, {plan}"):
            on = loading_device(plan[DIT], device)
            dit = load_network(build, weights.dit, rename=wanted_keys(ema=ema), dtype=dtype, device=on)
            finish(dit)
            on = loading_device(plan[TOKENIZER], device)
            vae = load_network(build_vae, weights.tokenizer, dtype=dtype, device=on)
        parallelise(dit, team.token_group)
        placed: dict[str, Lowerable] = {
            TOKENIZER: Placement([vae], device, plan[TOKENIZER], memory),
            DIT: Placement([dit], device, plan[DIT], memory),
        }
        text_encoder = None
        if has_text:
            text_encoder = placed[TEXT] = CachedTextEncoder(
                weights.text_encoder,
                settings.cache_folder / "text-embeddings",
                dtype=text_dtype,
                device=device,
                residence=plan[TEXT],
                memory=memory,
                on_load=lambda: output.status("Loading the text encoder"),
            )
        if settings.compile:
            compile_blocks(dit)
        stages = Stages(plan, placed, may_step_down=may_step_down)
        return Loaded(dit, vae, text_encoder, stages, team, guardrails, device, dtype)

    return load_in_steps(load, plan, may_step_down=may_step_down)


def checked_guardrails(settings: RunSettings | Video2WorldSettings, prompts: Iterable[str] = ()) -> Guardrails:
    """The guardrails of a run, none if they are disabled; to be made before any network is loaded.

    Args:
        prompts: of each request.
    Raises:
        GuardrailBlocked: all prompts are refused.
        CheckpointError: files of the guardrails are missing or damaged.
    """
    if settings.disable_guardrail:
        return Guardrails({}, gap="guardrail: disabled, nothing is checked")
    guardrails = load_guardrails(
        settings.checkpoint_dir,
        settings,
        is_published=settings.model_size != "tiny",
        device=choose_device(settings.device),
        offload=settings.offload_guardrail or getattr(settings, "max_memory", None) is not None,
        min_safe_share=MIN_SAFE_SHARE,
    )
    guardrails.check_ahead([prompt] for prompt in prompts)
    return guardrails
