"""What a generation asks of its networks, said once: its time, its memory and its plan all derive from this.

Nothing here imports torch, so that a plan takes no longer than a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from cosmos_cli.checkpoints.catalogue import LLAMA_GUARD
from cosmos_cli.generation.parts import DIT, REFINER, TEXT, TOKENIZER
from cosmos_cli.generation.rates import START_SECONDS, TEXT_START_SECONDS, Stage
from cosmos_cli.models.configs import T5EncoderConfig
from cosmos_cli.models.costs.dit import ControlCost, DiTCost, shared_tokens
from cosmos_cli.models.costs.text import T5Cost
from cosmos_cli.models.costs.tokenizers import TokenizerCost
from cosmos_cli.runtime.memory.residence import (
    ALIGNMENT_BYTES,
    PARKED,
    RESIDENT,
    MemoryPlan,
    NetworkSize,
    Residence,
    streamed,
)
from cosmos_cli.runtime.memory.residence import Stage as MemoryStage

if TYPE_CHECKING:
    from cosmos_cli.generation.files import NeededFile
    from cosmos_cli.generation.settings import GenerationSettings

# T latent frames, H and W latent height and width

CPU_SCRATCH = 1.3
"""What the working memory of networks grows by on a CPU, where convolutions want copies and the allocator keeps gaps.

A compromise: measured were 0.9 and 1.3 for the Wan tokenizer's encoder and decoder, 1.2 to 1.3 for DiTs 512 wide,
and 1.4 for the Cosmos tokenizer. On a GPU nothing has been measured.
"""
OFFLOADED_BLOCKS = 4
"""Blocks on the device at a time where a DiT is to stream: enough for the next to arrive in time."""
ENCODER_FRAMES = 60
"""Frames that x264 looks ahead."""
_VIDEO_GUARDRAILS_BYTES = 1.9e9
"""The image half of SigLIP (428 M parameters), its classifier and the face detector, in float32."""

_BLOCK_TENSORS, _TOKENIZER_TENSORS = 32, 320
"""No block, and no trunk beside its blocks, has more tensors than the one, and no tokenizer more than the other."""

Memory = Literal["device", "host"]


@dataclass(frozen=True)
class Frames:
    """given: frames of the input. made: of the output. computed: what the networks make, cut to that afterwards.

    A picture is one frame of fps 0.
    """

    given: int
    made: int
    computed: int
    chunks: int
    height: int
    width: int
    fps: float


@dataclass(frozen=True)
class Part:
    """Something that needs memory during some stages, or during all of them.

    can_go: the system takes it back when memory is short, such as the pages of a file that is being read.
    """

    name: str
    num_bytes: float
    memory: Memory = "device"
    stages: tuple[str, ...] = ()
    can_go: bool = False


@dataclass(frozen=True)
class Networks:
    """What a run loads, by its cost.

    branches: control branches, by the file that each comes from.
    text_folder: of the text encoder; None for models without text.
    refiner_bytes: of the chat model that rewrites prompts in this process; 0 if none does.
    """

    dit: DiTCost
    tokenizer: TokenizerCost
    branches: Mapping[Path, ControlCost] = field(default_factory=dict)
    text_folder: Path | None = None
    refiner_bytes: int = 0

    @property
    def t5(self) -> T5Cost | None:
        return None if self.text_folder is None else T5Cost(T5EncoderConfig.in_folder(self.text_folder))

    @property
    def denoising(self) -> tuple[DiTCost, ...]:
        """The DiT and the branches that go along with it."""
        return self.dit, *self.branches.values()


@dataclass(frozen=True)
class Rig:
    """What of a machine decides how much memory work takes.

    num_bytes: of a number in the networks' precision. text_bytes: in that of the text encoder.
    scratch: factor of what operations take for themselves.
    cp: processes that share the tokens of a video.
    """

    num_bytes: int
    text_bytes: int = 4
    scratch: float = 1.0
    cp: int = 1

    @classmethod
    def of(cls, settings: GenerationSettings, kind: str, cp: int = 1) -> Rig:
        """On a device of this kind, "cpu" or "cuda"."""
        precision = precision_on(settings, kind)
        scratch = CPU_SCRATCH if kind == "cpu" else 1.0
        return cls(_BYTES[precision], _BYTES[settings.text_precision], scratch, cp)


_BYTES = {"float32": 4, "bfloat16": 2}


def precision_on(settings: GenerationSettings, kind: str) -> str:
    """The precision of the networks on a device of this kind, "auto" resolved."""
    if settings.precision != "auto":
        return settings.precision
    return "float32" if kind == "cpu" else "bfloat16"


@dataclass(frozen=True)
class Work:
    """What one picture or video asks of the networks.

    clip_px: frames, height and width of what the networks see at once, of one view or tile.
    num_clips: clips that are denoised together, such as views, each with texts of its own.
    num_tiles: parts of the picture that are denoised one by one, step by step, and so are held together.
    num_rounds: how often all of this is done, such as chunks.
    num_passes: evaluations of the DiT for a tile in a round.
    encoded: (clips, frames of each) that the tokenizer encodes for a tile in a round.
    clip_bytes: of a number of these frames; 0 takes the networks' precision.
    num_texts: texts that the text encoder reads.
    num_contexts: texts that the DiT keeps, the negative prompt and those of regions included.
    num_regions: texts that tokens attend to beside that of the whole picture.
    keys_per_query: see `DiTCost.pass_flops`.
    num_states: tensors of the latents' shape in float32 that the sampler holds, those in float64 counted twice.
    is_guided: whether there is a prediction with the prompt and one with the negative prompt.
    read_px: pixels of all input frames that are read before anything is made; held_px: of those that stay in memory.
    num_copies: how often every frame is written. encoder_px: of the largest picture that is; 0 takes the output's.
    encode_stage: what the sidecar calls the encoding of frames.
    follows: whether the same processes do it after the work before, for one request.
    """

    networks: Networks
    clip_px: tuple[int, int, int]
    num_passes: int
    num_clips: int = 1
    num_tiles: int = 1
    num_rounds: int = 1
    encoded: tuple[tuple[int, int], ...] = ()
    clip_bytes: int = 0
    num_texts: int = 0
    num_contexts: int = 1
    num_regions: int = 0
    keys_per_query: tuple[float, ...] = ()
    num_states: int = 10
    is_guided: bool = False
    read_px: int = 0
    held_px: int = 0
    num_copies: int = 1
    encoder_px: int = 0
    encode_stage: str = "encode"
    follows: bool = False

    @property
    def clip_latents(self) -> tuple[int, int, int]:
        """Latent frames, height and width of one clip."""
        frames, height, width = self.clip_px
        factor = self.networks.tokenizer.spatial_factor
        return self.networks.tokenizer.latent_frames(frames), height // factor, width // factor

    @property
    def latents_THW(self) -> tuple[int, int, int]:
        """Of all clips together, as the DiT sees them."""
        T, H, W = self.clip_latents
        return self.num_clips * T, H, W

    def denoising_flops(self) -> float:
        """Of one round. Texts are read once for all tiles."""
        dit, networks = self.networks.dit, self.networks.denoising
        grid = dit.grid(self.latents_THW)
        per_pass = sum(
            network.pass_flops(
                grid,
                num_texts=1 + self.num_regions,
                modulations=network.modulations(self.latents_THW[0]),
                keys_per_query=self.keys_per_query,
            )
            for network in networks
        )
        hints = sum(branch.hint_flops(grid) for branch in self.networks.branches.values())
        texts = self.num_contexts * self.num_clips * sum(network.text_flops() for network in networks)
        return self.num_tiles * (self.num_passes * per_pass + hints) + texts

    def stages(self, files: Sequence[NeededFile], frames: Frames, *, is_first: bool) -> list[Stage]:
        """What takes time, in its order.

        Args:
            files: all that the run reads.
            is_first: whether the process must load everything first; False where the model has worked before.
        """
        tokenizer, t5 = self.networks.tokenizer, self.networks.t5
        _, height, width = self.clip_px
        num_latents, pixels = self.clip_latents[0], frames.height * frames.width
        pieces = self.num_rounds * self.num_tiles
        stages: list[Stage] = []
        if is_first or self.read_px:
            loading = self._model_bytes(files) if is_first else 0
            fixed_s = START_SECONDS if is_first else 0.0
            stages.append(Stage("start", {"loading": loading, "frames": self.read_px}, fixed_s=fixed_s))
        if self.networks.refiner_bytes:
            stages.append(Stage("check_prompt", {"loading": self.networks.refiner_bytes if is_first else 0}))
        if t5 is not None:
            amounts = {"loading": self._text_bytes(files) if is_first else 0, "attention": self.num_texts * t5.flops()}
            fixed_s = TEXT_START_SECONDS if is_first else 0.0
            stages.append(Stage("encode_text", amounts, self.num_texts, fixed_s))  # type: ignore[arg-type]
        if self.encoded:
            flops = sum(count * tokenizer.encode(num, height, width).flops for count, num in self.encoded)
            passes = sum(count * tokenizer.latent_frames(num) for count, num in self.encoded)
            stages.append(Stage(self.encode_stage, {"convolution": pieces * flops}, pieces * passes))
        evaluations = pieces * self.num_passes * len(self.networks.denoising)
        decoded = pieces * self.num_clips * tokenizer.decode(*self.clip_latents).flops
        return [
            *stages,
            Stage("denoise", {"attention": self.num_rounds * self.denoising_flops()}, evaluations),
            Stage(
                "decode",
                {"convolution": decoded, "frames": frames.computed * pixels},
                pieces * self.num_clips * num_latents,
            ),
            Stage("write", {"frames": self.num_copies * frames.made * pixels}),
        ]

    def working_parts(self, rig: Rig) -> list[Part]:
        """What networks take of the device beside their weights, stage by stage."""
        dit, tokenizer, t5 = self.networks.dit, self.networks.tokenizer, self.networks.t5
        branches, num_bytes = self.networks.branches, rig.num_bytes
        grid = dit.grid(self.latents_THW)
        _, height, width = self.clip_px
        share_bytes = shared_tokens(grid, rig.cp) * dit.config.model_channels * num_bytes
        texts = self.num_contexts * self.num_clips * sum(network.text_elements() for network in self.networks.denoising)
        # of every branch: the hint of each tile, the positions, and between two blocks its own tokens, its residual and
        # the sum with those before, which the first has none of
        of_branches = len(branches) * (self.num_tiles + 4) - 1 if branches else 0
        states = (self.num_states + len(branches)) * 4
        latents = self.num_tiles * dit.config.in_channels * math.prod(self.latents_THW)
        decoding = tokenizer.decode(*self.clip_latents).elements
        encoding = max((tokenizer.encode(num, height, width).elements for _, num in self.encoded), default=0)
        clip = 3 * max((num for _, num in self.encoded), default=0) * height * width
        activations = dit.live_elements(grid, num_bytes, cp=rig.cp)
        parts = [
            Part("texts", texts * num_bytes, stages=("denoise",)),
            Part("activations", rig.scratch * activations * num_bytes, stages=("denoise",)),
            Part("controls", of_branches * share_bytes, stages=("denoise",)),
            Part("latents", states * latents, stages=("denoise",)),
            Part("encoding", rig.scratch * encoding * num_bytes, stages=(self.encode_stage,)),
            Part("clip", clip * (self.clip_bytes or num_bytes), stages=(self.encode_stage,)),
            Part("decoding", rig.scratch * decoding * num_bytes, stages=("decode",)),
        ]
        if t5 is not None:
            read = rig.scratch * t5.live_elements() * rig.text_bytes
            parts.append(Part("text activations", read, stages=("encode_text",)))
        return [part for part in parts if part.num_bytes]

    def host_parts(self, rig: Rig, files: Sequence[NeededFile], frames: Frames) -> list[Part]:
        """What the host holds beside weights: frames, encoders, and files while they are read."""
        clip_frames, height, width = self.clip_px
        made, pixels = 3 * frames.computed * frames.height * frames.width, frames.height * frames.width
        tiles = 3 * clip_frames * height * width * self.num_tiles * rig.num_bytes if self.num_tiles > 1 else 0
        encoder = ENCODER_FRAMES * 1.5 * (self.encoder_px or pixels) if frames.fps else 0
        largest = max((file.num_bytes for file in files if not self._is_of_text(file)), default=0)
        return [
            Part("input frames", 3 * self.held_px, "host"),
            # the pieces, and the video that they are joined to
            Part("frames", 2 * made, "host", ("decode",)),
            Part("frames", made, "host", ("write",)),
            Part("tiles", tiles, "host", ("decode",)),
            Part("video encoder", encoder, "host", ("write",)),
            Part("weight files being read", largest, "host", ("start",), can_go=True),
            Part("weight files being read", self._text_bytes(files), "host", ("encode_text",), can_go=True),
        ]

    def working_bytes(self, rig: Rig) -> dict[str, int]:
        """What each part of `memory_stages` takes beside its weights while it works."""
        during: dict[str, float] = {}
        for part in self.working_parts(rig):
            for stage in part.stages:
                during[stage] = during.get(stage, 0.0) + part.num_bytes
        coding = max(during.get(self.encode_stage, 0.0), during["decode"])
        return {
            TEXT: math.ceil(during.get("encode_text", 0.0)),
            TOKENIZER: math.ceil(coding),
            DIT: math.ceil(during["denoise"]),
        }

    def _is_of_text(self, file: NeededFile) -> bool:
        return self.networks.text_folder in (file.path, *file.path.parents)

    def _text_bytes(self, files: Iterable[NeededFile]) -> int:
        return sum(file.num_bytes for file in files if self._is_of_text(file))

    def _model_bytes(self, files: Iterable[NeededFile]) -> int:
        return sum(file.num_bytes for file in files if not self._is_of_text(file))


def memory_stages(works: Sequence[Work], rig: Rig, offloaded: frozenset[str] = frozenset()) -> list[MemoryStage]:
    """What takes turns on a device, by the sizes of its weights and the most that any of these works takes.

    This is what a run places its networks by, and what a plan foresees.

    Args:
        works: of requests that one model serves; branches of all of them are loaded.
        offloaded: parts that are to leave the device except while they work, see `GenerationSettings`.
    """
    first = works[0].networks
    different: list[Work] = []
    for work in works:
        if work not in different:  # most rows of a batch differ in words alone
            different.append(work)
    taken = [work.working_bytes(rig) for work in different]
    working = {name: max(each[name] for each in taken) for name in (TEXT, TOKENIZER, DIT)}
    branches = {file: branch for work in works for file, branch in work.networks.branches.items()}

    def highest(name: str, lowered: Residence) -> Residence:
        return lowered if name in offloaded else RESIDENT

    stages = [
        MemoryStage(
            TOKENIZER,
            (NetworkSize(first.tokenizer.parameters * rig.num_bytes + _aligning_bytes(_TOKENIZER_TENSORS)),),
            working[TOKENIZER],
            highest=highest(TOKENIZER, PARKED),
        ),
        MemoryStage(
            DIT,
            tuple(_size_of(network, rig.num_bytes) for network in (first.dit, *branches.values())),
            working[DIT],
            highest=highest(DIT, streamed(OFFLOADED_BLOCKS)),
        ),
    ]
    if first.t5 is not None:
        size = _size_of(first.t5, rig.text_bytes)
        stages.append(MemoryStage(TEXT, (size,), working[TEXT], is_helper=True, highest=highest(TEXT, PARKED)))
    # some requests may do without
    refiner_bytes = max(work.networks.refiner_bytes for work in works)
    if refiner_bytes:
        stages.append(
            MemoryStage(REFINER, (NetworkSize(refiner_bytes),), is_helper=True, highest=highest(REFINER, PARKED))
        )
    return stages


def _size_of(network: DiTCost | T5Cost, num_bytes: int) -> NetworkSize:
    trunk = network.parameters - network.num_blocks * network.block_parameters
    aligning = _aligning_bytes(_BLOCK_TENSORS)
    return NetworkSize(
        trunk * num_bytes + aligning, network.block_parameters * num_bytes + aligning, network.num_blocks
    )


def _aligning_bytes(num_tensors: int) -> int:
    """The most that is lost between so many tensors in one piece of memory."""
    return num_tensors * (ALIGNMENT_BYTES - 1)


class Asked(TypedDict):
    """What decides how processes can share requests: arguments of `cosmos_cli.runtime.workers.layout.layout_of`."""

    num_heads: int
    num_items: int
    guided: bool


def asked_of(works: Sequence[Work]) -> Asked:
    """What one model is asked by all of them."""
    num_heads = works[0].networks.dit.config.num_heads
    num_items = sum(not work.follows for work in works)
    return Asked(num_heads=num_heads, num_items=num_items, guided=any(work.is_guided for work in works))


_AT_WORK: Mapping[str, tuple[str, ...]] = {
    TEXT: ("encode_text",),
    REFINER: ("check_prompt",),
    DIT: ("denoise",),
}
_NAMES = {DIT: "DiT"}


def weight_parts(memory: MemoryPlan, work: Work, stages: Sequence[str]) -> list[Part]:
    """Weights where a memory plan wants them.

    Args:
        stages: names of all stages that take time. Helpers are loaded when they are needed first.
    """
    parts = []
    for stage, residence in zip(memory.stages, memory.residences, strict=True):
        name = _NAMES.get(stage.name, stage.name)
        at_work = _AT_WORK.get(stage.name, (work.encode_stage, "decode"))
        loaded = (
            () if not stage.is_helper else tuple(stages[next(i for i, each in enumerate(stages) if each in at_work) :])
        )
        if residence == RESIDENT:
            parts.append(Part(name, stage.weight_bytes, stages=loaded))
            continue
        parts.append(Part(name, stage.bytes_at_work(residence) - stage.working_bytes, stages=at_work))
        parts.append(Part(name, stage.weight_bytes, "host", loaded))
    return parts


def guardrail_parts(files: Iterable[NeededFile], *, offload: bool) -> list[Part]:
    """What the published guardrails take, and when; nothing for a run whose files hold none.

    Llama Guard judges the prompts before anything else is loaded, and leaves.

    Args:
        files: all that the run reads.
        offload: whether the networks wait in host memory until there is a video.
    """
    name = LLAMA_GUARD.name.rpartition("/")[2]
    judge_bytes = sum(file.num_bytes for file in files if name in file.path.parts)
    if not judge_bytes:
        return []
    return [
        Part("Llama Guard", judge_bytes, stages=("start",)),
        Part("video guardrails", _VIDEO_GUARDRAILS_BYTES, "host" if offload else "device"),
    ]
