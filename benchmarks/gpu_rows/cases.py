"""What rows measure, as data: networks of published size, clips, and where weights are. Nothing here imports torch.

From the same data follow the arithmetic and the memory that a plan counts, so that a list of rows costs no GPU.
"""

# T latent frames, H and W latent height and width

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from cosmos_cli.generation.parts import DIT, TOKENIZER
from cosmos_cli.generation.work import Networks, Rig, Work, memory_stages
from cosmos_cli.models.configs import (
    ControlBranchConfig,
    CosmosTokenizerConfig,
    DiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewConfig,
    NeighborhoodConfig,
    T5EncoderConfig,
    WanVAEConfig,
)
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.text import TEXT_TOKENS, T5Cost
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.runtime.memory.residence import RESIDENT, streamed

NUM_BYTES = 2
"""Of a number in bfloat16, which everything here runs in."""

_ARITHMETIC_PER_S, _CONVOLUTION_PER_S, _COPIED_PER_S = 790e12, 158e12, 50e9
"""What estimates go by: an H200's matrix products, a fifth of that for convolutions, and PCIe 5."""

_RIG = Rig(num_bytes=NUM_BYTES, text_bytes=NUM_BYTES)


@dataclass(frozen=True)
class Clip:
    """Pixels and frames of one video, or of each view of a scene."""

    frames: int
    height: int
    width: int
    fps: int = 0
    num_views: int = 1

    def __str__(self) -> str:
        views = f"{self.num_views} x " if self.num_views > 1 else ""
        rate = f", {self.fps} fps" if self.fps else ""
        return f"{views}{self.frames} x {self.height} x {self.width}{rate}"


class Case(Protocol):
    """One thing to measure.

    flops: of one call. weight_bytes: of all networks, wherever they are.
    planned_bytes: on the device while it works, as `--plan` counts them; None where no plan speaks of it.
    host_bytes: weights that wait in host memory.
    call_s: estimate of one call on an H200; setup_s: of what comes before the first.
    settings: what the figure depends on, in words.
    """

    @property
    def flops(self) -> float: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def planned_bytes(self) -> int | None: ...
    @property
    def host_bytes(self) -> int: ...
    @property
    def call_s(self) -> float: ...
    @property
    def setup_s(self) -> float: ...
    @property
    def settings(self) -> str: ...
    def toy(self) -> Case:
        """The same code at a size that any machine runs in a moment."""


@dataclass(frozen=True)
class Denoising:
    """One denoising step: the networks with the prompt and with the negative prompt, and the guidance between.

    branch: control branch, of which there are `num_controls`.
    neighborhoods: of each block of a sparse network.
    num_tiles: parts of the picture whose hints and latents are held together; the step is that of one.
    num_resident: blocks of each network on the device at a time; None for networks that stay there.
    compiler: backend of torch.compile; empty runs the networks as they are.
    num_states: see `Work`.
    is_peer: diffusers' network instead of ours.
    """

    dit: DiTConfig
    tokenizer: WanVAEConfig | CosmosTokenizerConfig
    clip: Clip
    guidance: float
    branch: ControlBranchConfig | None = None
    num_controls: int = 0
    neighborhoods: tuple[NeighborhoodConfig | None, ...] = ()
    num_tiles: int = 1
    attention: str = "sdpa"
    num_resident: int | None = None
    compiler: str = ""
    num_states: int = 10
    is_peer: bool = False

    @cached_property
    def work(self) -> Work:
        """What a generation with this step would ask of its networks."""
        branches = {Path(f"control {i}"): cost_of(self.branch) for i in range(self.num_controls) if self.branch}
        networks = Networks(cost_of(self.dit), tokenizer_cost_of(self.tokenizer), branches)
        work = Work(
            networks,
            clip_px=(self.clip.frames, self.clip.height, self.clip.width),
            num_passes=2,
            num_clips=self.clip.num_views,
            num_tiles=self.num_tiles,
            num_contexts=2,
            num_states=self.num_states,
            is_guided=True,
        )
        return replace(work, keys_per_query=self._keys_per_query(networks.dit.grid(work.latents_THW)))

    @property
    def flops(self) -> float:
        work, grid = self.work, self.grid
        return work.num_passes * sum(
            network.pass_flops(
                grid,
                modulations=network.modulations(work.latents_THW[0]),
                keys_per_query=work.keys_per_query,
            )
            for network in work.networks.denoising
        )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches of the latents."""
        return self.work.networks.dit.grid(self.work.latents_THW)

    @property
    def weight_bytes(self) -> int:
        return sum(network.parameters for network in self.work.networks.denoising) * NUM_BYTES

    @property
    def planned_bytes(self) -> int | None:
        if self.is_peer:
            return None
        stage = next(stage for stage in memory_stages([self.work], _RIG) if stage.name == DIT)
        return stage.bytes_at_work(RESIDENT if self.num_resident is None else streamed(self.num_resident))

    @property
    def host_bytes(self) -> int:
        return 0 if self.num_resident is None else self.weight_bytes

    @property
    def call_s(self) -> float:
        return max(self.flops / _ARITHMETIC_PER_S, self.work.num_passes * self.host_bytes / _COPIED_PER_S)

    @property
    def setup_s(self) -> float:
        # weights that wait in host memory are filled over the bus and pinned; a compiler takes its time
        return 2 + self.weight_bytes / 20e9 + self.host_bytes / 2e9 + (60 if self.compiler else 0)

    @property
    def settings(self) -> str:
        parts = [str(self.clip), f"guidance {self.guidance:g}"]
        if self.num_controls:
            parts.append(f"{self.num_controls} control{'s' * (self.num_controls > 1)}")
        if self.num_tiles > 1:
            parts.append(f"one of {self.num_tiles} tiles")
        if self.neighborhoods:
            parts.append("sparse")
        parts.append("diffusers" if self.is_peer else self.attention)
        if self.num_resident is not None:
            parts.append(f"{self.num_resident} blocks at a time")
        if self.compiler:
            parts.append("compiled")
        return ", ".join(parts)

    def toy(self) -> Denoising:
        sizes: dict[str, Any] = {
            "model_channels": 48,
            "num_heads": 2,
            "adaln_lora_dim": 8,
            "crossattn_emb_channels": 32,
        }
        num_views = min(2, self.clip.num_views)
        if isinstance(self.dit, MultiViewConfig):
            sizes["n_views"] = num_views
        own: dict[str, Any] = {"state_t": 2} if isinstance(self.dit, MinimalMultiviewDiTConfig) else {}
        frames = 1 + tokenizer_cost_of(self.tokenizer).temporal_factor
        return replace(
            self,
            dit=replace(self.dit, num_blocks=4, **sizes, **own),
            branch=self.branch and replace(self.branch, num_blocks=3, hint_channels=16, **sizes),
            clip=Clip(frames, 48, 64, self.clip.fps, num_views),
            neighborhoods=tuple(each for each in dict.fromkeys(self.neighborhoods) if each)[-4:],
            num_tiles=min(2, self.num_tiles),
            num_resident=self.num_resident and min(3, self.num_resident),
            compiler=self.compiler and "eager",
        )

    def _keys_per_query(self, grid_THW: tuple[int, int, int]) -> tuple[float, ...]:
        dense = float(math.prod(grid_THW))
        return tuple(float(math.prod(each.on_grid(grid_THW).window)) if each else dense for each in self.neighborhoods)


@dataclass(frozen=True)
class Tokenizing:
    """Frames to latents, or latents to frames, piece by piece as a run does it.

    is_peer: diffusers' network instead of ours.
    """

    tokenizer: WanVAEConfig | CosmosTokenizerConfig
    clip: Clip
    direction: Literal["encode", "decode"]
    is_peer: bool = False

    @cached_property
    def work(self) -> Work:
        """A generation that encodes or decodes this clip; what its DiT would be is of no account."""
        dit = cost_of(DiTConfig(model_channels=24, num_blocks=1, num_heads=2))
        clip_px = (self.clip.frames, self.clip.height, self.clip.width)
        encoded = ((1, self.clip.frames),) if self.direction == "encode" else ()
        return Work(Networks(dit, tokenizer_cost_of(self.tokenizer)), clip_px, num_passes=1, encoded=encoded)

    @property
    def latents_THW(self) -> tuple[int, int, int]:
        return self.work.clip_latents

    @property
    def flops(self) -> float:
        tokenizer = self.work.networks.tokenizer
        if self.direction == "encode":
            return tokenizer.encode(*self.work.clip_px).flops
        return tokenizer.decode(*self.latents_THW).flops

    @property
    def weight_bytes(self) -> int:
        return self.work.networks.tokenizer.parameters * NUM_BYTES

    @property
    def planned_bytes(self) -> int | None:
        if self.is_peer:
            return None
        stage = next(stage for stage in memory_stages([self.work], _RIG) if stage.name == TOKENIZER)
        parts = self.work.working_parts(_RIG)
        return stage.weight_bytes + math.ceil(sum(part.num_bytes for part in parts if self.direction in part.stages))

    @property
    def host_bytes(self) -> int:
        return 0

    @property
    def call_s(self) -> float:
        return self.flops / _CONVOLUTION_PER_S

    @property
    def setup_s(self) -> float:
        return 2

    @property
    def settings(self) -> str:
        return f"{self.clip}{', diffusers' * self.is_peer}"

    def toy(self) -> Tokenizing:
        tokenizer: WanVAEConfig | CosmosTokenizerConfig = (
            replace(self.tokenizer, dim=4)
            if isinstance(self.tokenizer, WanVAEConfig)
            else replace(self.tokenizer, channels=16, channels_mult=(1, 2, 2), num_res_blocks=1)
        )
        frames = 1 + tokenizer_cost_of(tokenizer).temporal_factor
        return replace(self, tokenizer=tokenizer, clip=Clip(frames, 48, 64))


@dataclass(frozen=True)
class EncodingText:
    """One prompt through the encoder half of a T5 model."""

    encoder: T5EncoderConfig

    @property
    def flops(self) -> float:
        return T5Cost(self.encoder).flops()

    @property
    def weight_bytes(self) -> int:
        return T5Cost(self.encoder).parameters * NUM_BYTES

    @property
    def planned_bytes(self) -> int | None:
        return self.weight_bytes + math.ceil(T5Cost(self.encoder).live_elements()) * NUM_BYTES

    @property
    def host_bytes(self) -> int:
        return 0

    @property
    def call_s(self) -> float:
        return self.flops / _ARITHMETIC_PER_S

    @property
    def setup_s(self) -> float:
        return 10  # transformers takes its time to import

    @property
    def settings(self) -> str:
        return f"{TEXT_TOKENS} tokens, transformers' own attention"

    def toy(self) -> EncodingText:
        return EncodingText(T5EncoderConfig(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=128))


@dataclass(frozen=True)
class _Context:
    """What a card can do at best, to read the other rows by."""

    repeats: int

    @property
    def weight_bytes(self) -> int:
        return 0

    @property
    def planned_bytes(self) -> int | None:
        return None

    @property
    def host_bytes(self) -> int:
        return 0

    @property
    def setup_s(self) -> float:
        return 2


@dataclass(frozen=True)
class MatrixProducts(_Context):
    """Products of square matrices, `repeats` of them in a call."""

    size: int

    @property
    def flops(self) -> float:
        return self.repeats * 2.0 * self.size**3

    @property
    def call_s(self) -> float:
        return self.flops / _ARITHMETIC_PER_S

    @property
    def settings(self) -> str:
        return f"{self.repeats} products of {self.size} x {self.size}"

    def toy(self) -> MatrixProducts:
        return MatrixProducts(2, size=64)


@dataclass(frozen=True)
class AttentionAlone(_Context):
    """Self-attention of one block and nothing else, with a backend."""

    tokens: int
    num_heads: int
    head_dim: int = 128
    attention: str = "sdpa"

    @property
    def flops(self) -> float:
        return self.repeats * 4.0 * self.tokens**2 * self.num_heads * self.head_dim

    @property
    def call_s(self) -> float:
        return self.flops / _ARITHMETIC_PER_S

    @property
    def settings(self) -> str:
        return f"{self.repeats} x {self.tokens} tokens, {self.num_heads} heads of {self.head_dim}, {self.attention}"

    def toy(self) -> AttentionAlone:
        return replace(self, repeats=1, tokens=64, num_heads=2, head_dim=16)


@dataclass(frozen=True)
class HostToDevice(_Context):
    """Copies out of pinned host memory, which streamed weights wait for."""

    num_bytes: int

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def copied_bytes(self) -> int:
        """Of one call."""
        return self.repeats * self.num_bytes

    @property
    def call_s(self) -> float:
        return self.copied_bytes / _COPIED_PER_S

    @property
    def host_bytes(self) -> int:
        return self.num_bytes

    @property
    def settings(self) -> str:
        return f"{self.repeats} x {self.num_bytes / 2**30:g} GiB, pinned"

    def toy(self) -> HostToDevice:
        return HostToDevice(2, num_bytes=1 << 16)
