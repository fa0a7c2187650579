"""All rows of the GPU benchmark, the most valuable first, and what NVIDIA has published to hold them against.

Nothing here imports torch, and of the families only their tables of sizes, which need no package.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows.cases import (
    AttentionAlone,
    Case,
    Clip,
    Denoising,
    EncodingText,
    HostToDevice,
    MatrixProducts,
    Tokenizing,
)
from cosmos_cli.models.configs import CosmosTokenizerConfig, T5EncoderConfig, WanVAEConfig
from cosmos_cli.runtime.shortcuts import Shortcuts

ROOT = Path(__file__).resolve().parents[2]

NUM_EVALUATIONS = 36
"""Of a published run: 35 steps, and the last one that returns clean latents."""

ROW_SECONDS = 120.0
"""What a row may take, from building its networks to its last repeat."""

STREAMED_BLOCKS = (2, 8)


def _sizes_of(file: str) -> Any:
    """A family's table of sizes by its file: the package around it needs what a bare machine lacks."""
    name = f"benchmarks.sizes_of.{file.removesuffix('.py').replace('/', '.')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "plugins" / file)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


predict2 = _sizes_of("predict2/variants.py")
transfer1 = _sizes_of("transfer1/variants.py")
multiview = _sizes_of("transfer1/multiview/variants.py")


def shortcuts_of(case: Case) -> Shortcuts:
    """What the family of these networks has a GPU do for speed; its tokenizer tells which family that is."""
    is_predict2 = isinstance(getattr(case, "tokenizer", None), WanVAEConfig)
    shortcuts: Shortcuts = predict2.SHORTCUTS if is_predict2 else Shortcuts()
    return shortcuts


# Seconds of a run of 35 steps with guidance, as cosmos-predict2 publishes them (documentations/performance.md). What
# of text encoding, decoding and guardrails they hold is not said, so a step of ours times 36 is the smaller thing.
PUBLISHED_RUN_S: Mapping[str, Mapping[str, float]] = {
    "predict2-2b-480p": {"H200 NVL": 54.01, "H200": 50.2, "H100 PCIe": 79.87, "H100 NVL": 87.32, "B200": 30.7},
    "predict2-14b-480p": {"H200 NVL": 203.56, "H200": 176.19, "H100 PCIe": 286.46, "H100 NVL": 377.67, "B200": 92.59},
    "predict2-2b-720p": {"H200": 221.7, "H100": 228.8, "B200": 123.9},
    "predict2-14b-720p": {"H200": 836.9, "H100": 856.9, "B200": 439.4},
    "predict2-2b-720p-sparse": {"H200": 89.4, "H100": 94.2, "B200": 54.0},
    "predict2-14b-720p-sparse": {"H200": 412.9, "H100": 426.0, "B200": 223.1},
    "predict2-2b-720p-10fps": {"H200": 111.1, "H100": 115.1, "B200": 62.4},
    "predict2-14b-720p-10fps": {"H200": 436.7, "H100": 447.9, "B200": 230.0},
}
_OTHER_BOARDS = ("NVL", "PCIe", "GB200", "GH200")
"""What makes a card another one than the SXM board whose name its own contains."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    id: stable; results are kept under it.
    what: measured, in a few words.
    compared_to: the row of ours that this one, of a peer or of another way to compute the same, is held against.
    """

    id: str
    what: str
    case: Case = field(repr=False)
    compared_to: str = ""

    @property
    def estimate_s(self) -> float:
        """Of the whole row on an H200: setup, a warm-up and three calls."""
        return min(ROW_SECONDS, self.case.setup_s + 4 * self.case.call_s)

    def published_step_s(self, device: str) -> float | None:
        """Seconds of a step in NVIDIA's published run on this device, if there is one."""
        runs = PUBLISHED_RUN_S.get(self.id, {})
        for card, run_s in runs.items():
            is_other = any(board in device and board not in card for board in _OTHER_BOARDS)
            if card in device and not is_other:
                return run_s / NUM_EVALUATIONS
        return None


def all_rows() -> list[Row]:
    """Every row, in the order in which they are worth a GPU's time."""
    steps, general = _predict2_rows(), _transfer_rows()
    two_720, fourteen_720 = steps["predict2-2b-720p"], steps["predict2-14b-720p"]
    two_480, fourteen_480 = steps["predict2-2b-480p"], steps["predict2-14b-480p"]
    one, four = general["transfer-1-control"], general["transfer-4-controls"]
    tokenizers = _tokenizer_rows()
    return [
        two_720,
        fourteen_720,
        one,
        two_480,
        fourteen_480,
        *tokenizers[:4],
        four,
        steps["predict2-2b-720p-sparse"],
        steps["predict2-14b-720p-sparse"],
        steps["predict2-2b-720p-10fps"],
        steps["predict2-14b-720p-10fps"],
        *(_streamed(row, count) for row in (fourteen_720, one, four) for count in STREAMED_BLOCKS),
        *_backend_rows(two_720, two_480),
        *(_compiled(row) for row in (two_480, two_720, one)),
        *(_peer(row) for row in (two_480, two_720, fourteen_480, *tokenizers[:4])),
        _seven_cameras(),
        _single_to_multiview(),
        general["transfer-upscale-tile"],
        *tokenizers[4:],
        Row("t5-11b-encoder", "T5-11B encoder, one prompt", EncodingText(T5EncoderConfig())),
        Row("host-to-device", "copies to the device", HostToDevice(repeats=4, num_bytes=2 << 30)),
        Row("matrix-products", "matrix products", MatrixProducts(repeats=50, size=8192)),
        Row("attention-720p", "self-attention of one block", AttentionAlone(repeats=3, tokens=84_480, num_heads=16)),
    ]


def chosen(rows: Sequence[Row], patterns: Sequence[str]) -> list[Row]:
    """The rows whose ids match one of the patterns (`transfer-*`), in their order; all if there are none.

    Raises:
        ValueError: a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch(row.id, pattern) for row in rows):
            raise ValueError(f"no row matches {pattern!r}; --list shows them")
    return [row for row in rows if not patterns or any(fnmatch(row.id, pattern) for pattern in patterns)]


def _predict2_rows() -> dict[str, Row]:
    """Predict2 Video2World, by id."""
    rows = []
    for size in ("2B", "14B"):
        variant = predict2.VARIANTS[size]
        patterns = predict2.SPARSE_PATTERNS
        neighborhoods = tuple(patterns.get(letter) for letter in variant.sparse_layers)
        for resolution, fps, end in (("720", 16, ""), ("480", 16, ""), ("720", 10, "-10fps")):
            height, width = variant.sizes[resolution]["16:9"]
            clip = Clip(variant.num_frames[fps], height, width, fps)
            row = Row(
                f"predict2-{size.lower()}-{resolution}p{end}",
                f"Predict2 {size} step",
                Denoising(variant.dit, variant.vae, clip, guidance=7.0),
            )
            rows.append(row)
            if (resolution, fps) == ("720", 16):
                rows.append(_changed(row, "sparse", neighborhoods=neighborhoods))
    return {row.id: row for row in rows}


def _transfer_rows() -> dict[str, Row]:
    """Transfer1-7B, by id."""
    variant = transfer1.VARIANTS["7B"]
    height, width = variant.sizes["16:9"]
    clip = Clip(variant.chunk_frames, height, width, fps=24)
    one = Denoising(
        variant.base(driving=False),
        variant.tokenizer,
        clip,
        guidance=7.0,
        branch=variant.branch(driving=False),
        num_controls=1,
        num_states=transfer1.NUM_STATES,
    )
    num_tiles = transfer1.UPSCALE_FACTOR**2
    rows = [
        Row("transfer-1-control", "Transfer1 7B step", one),
        Row("transfer-4-controls", "Transfer1 7B step", replace(one, num_controls=4)),
        Row("transfer-upscale-tile", "Transfer1 7B upscaling step", replace(one, num_tiles=num_tiles)),
    ]
    return {row.id: row for row in rows}


def _tokenizer_rows() -> list[Row]:
    """The two tokenizers on clips of 720p, then the others."""
    wan, cosmos = WanVAEConfig(), CosmosTokenizerConfig()
    wide, narrow = (predict2.VARIANTS["2B"].sizes[name]["16:9"] for name in ("720", "480"))
    transfer = transfer1.VARIANTS["7B"]
    clip = Clip(transfer.chunk_frames, *transfer.sizes["16:9"])
    return [
        Row("wan-decode-720p", "Wan tokenizer decodes", Tokenizing(wan, Clip(93, *wide), "decode")),
        Row("wan-encode-720p", "Wan tokenizer encodes", Tokenizing(wan, Clip(93, *wide), "encode")),
        Row("cosmos-decode-720p", "Cosmos tokenizer decodes", Tokenizing(cosmos, clip, "decode")),
        Row("cosmos-encode-720p", "Cosmos tokenizer encodes", Tokenizing(cosmos, clip, "encode")),
        Row("wan-decode-480p", "Wan tokenizer decodes", Tokenizing(wan, Clip(93, *narrow), "decode")),
        Row("wan-encode-5-720p", "Wan tokenizer encodes", Tokenizing(wan, Clip(5, *wide), "encode")),
    ]


def _streamed(row: Row, num_blocks: int) -> Row:
    return _changed(row, f"stream-{num_blocks}", num_resident=num_blocks)


def _backend_rows(wide: Row, narrow: Row) -> list[Row]:
    """Attention kernels on what they matter most for; the written-out one on a clip whose scores fit."""
    rows = [
        _changed(wide, name, attention=name)
        for name in ("sdpa-cudnn", "sdpa-flash", "flash-attention", "transformer-engine")
    ]
    short = Clip(17, narrow.case.clip.height, narrow.case.clip.width, fps=16)  # type: ignore[attr-defined]
    default = replace(_changed(narrow, "17-frames", clip=short), compared_to="")
    return [*rows, default, _changed(default, "sdpa-math", attention="sdpa-math")]


def _compiled(row: Row) -> Row:
    return _changed(row, "compiled", compiler="inductor")


def _peer(row: Row) -> Row:
    return _changed(row, "diffusers", is_peer=True)


def _changed(row: Row, end: str, **changes: Any) -> Row:
    """A row that is another's but for this, and is held against it."""
    case: Any = replace(row.case, **changes)  # type: ignore[type-var]
    return Row(f"{row.id}-{end}", row.what, case, compared_to=row.id)


def _seven_cameras() -> Row:
    variant, fps, num_views = predict2.MULTIVIEW["2B"], predict2.VIEW_FPS, predict2.MAX_VIEWS
    height, width = variant.sizes["16:9"]
    clip = Clip(predict2.VIEW_FRAMES, height, width, fps, num_views)
    case = Denoising(variant.dit, variant.vae, clip, guidance=7.0)
    return Row("predict2-2b-7-cameras", "Predict2 2B multi-view step", case)


def _single_to_multiview() -> Row:
    variant, num_views = multiview.MULTIVIEW_VARIANTS["7B"], 6
    clip = Clip(multiview.CLIP_FRAMES, variant.height, variant.width, 24, num_views)
    case = Denoising(
        variant.base(num_views),
        CosmosTokenizerConfig(),
        clip,
        guidance=5.0,
        branch=variant.branch(num_views),
        num_controls=1,
        num_states=transfer1.NUM_STATES,
    )
    return Row("transfer-6-views", "Transfer1 7B multi-view step", case)
