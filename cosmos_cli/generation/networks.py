"""Building and filling general diffusion transformers and their tokenizer, for generation and for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from cosmos_cli.checkpoints.checkpoint import Checkpoint
from cosmos_cli.checkpoints.keys import PUBLISHED as DIT
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.diffusion.edm import SIGMA_DATA
from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.load import BuildNetworks, Built, Where
from cosmos_cli.generation.variants import Helpers
from cosmos_cli.generation.weights import Paths
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.configs import GeneralDiTConfig, MultiViewConfig
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.multiview_dit import MultiViewDiT

Config = TypeVar("Config", bound=GeneralDiTConfig)

LoadDiT = Callable[..., GeneralDiT]

Shapes = Mapping[str, Sequence[int]]
"""The network's names to the shapes of a file."""

_PATCHES, _LEGACY_PATCHES = "x_embedder.proj.1.weight", "x_embedder.proj.weight"
_TIME_NORM = "affline_norm.weight"
_RANK = "blocks.block0.blocks.0.adaLN_modulation.1.weight"
_VIEWS, _REPEATS = "view_embeddings.weight", "repeat_frame_embedding.weight"


def networks(
    paths: Paths,
    config: GeneralDiTConfig,
    helpers: Helpers,
    *,
    chunk_frames: int,
    num_views: int | None = None,
    lora_alpha: float | None = None,
    load: LoadDiT | None = None,
) -> BuildNetworks[Any, ChunkedTokenizer]:
    """What builds the DiT, with its LoRA merged in, and the tokenizer of a model.

    Args:
        config, num_views: see `config_in`.
        chunk_frames: frames that the tokenizer takes at once.
        lora_alpha: see `merge_lora`.
        load: takes the arguments of `load_dit`, in whose place it is called, for files of other forms.
    """

    def build(where: Where) -> Built[Any, ChunkedTokenizer]:
        dit = (load or load_dit)(
            paths.dit, config, num_views=num_views, attention=where.attention, dtype=where.dtype, device=where.dit
        )
        if paths.lora is not None:
            merge_lora(dit, paths.lora, alpha=lora_alpha)
        tokenizer = load_chunked_tokenizer(
            paths.tokenizer,
            config=helpers.tokenizer,
            chunk_frames=chunk_frames,
            sigma_data=SIGMA_DATA,
            dtype=where.dtype,
            device=where.tokenizer,
        )
        return Built(dit, tokenizer)

    return build


def build_dit(config: GeneralDiTConfig, attention: str = "sdpa") -> GeneralDiT:
    """The network without weights, for one view or for several."""
    if isinstance(config, MultiViewConfig):
        return MultiViewDiT(config, attention)
    return GeneralDiT(config, attention)


def load_dit(
    path: Path,
    config: GeneralDiTConfig,
    *,
    num_views: int | None = None,
    attention: str = "sdpa",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> GeneralDiT:
    """The network with the weights of a file, published or from a training.

    Args:
        config, num_views: as for `config_in`, which says what may differ in the file.
        dtype: None keeps the stored one.
    Raises:
        CheckpointError: keys are missing or misshapen, or the file is unusable.
    """
    with open_checkpoint(path, DIT.wrappers) as checkpoint:
        fitting = _config_of(checkpoint, config, num_views)
        return load_network(lambda: build_dit(fitting, attention), checkpoint, naming=DIT, dtype=dtype, device=device)


def config_in(path: Path, config: Config, num_views: int | None = None) -> Config:
    """The shape of the network in a file: that of `config`, but for what trainings differ in.

    Args:
        config: of the published network.
        num_views: of a video; None is as many as the file's table of views has, and at most those of `config`.
    Returns:
        With the file's given-frame mask, embedding of the noise on given frames, rank of the modulation and kind of
        patch embedding; for several views also with its width of the view table and its layer for repeated frames.
    Raises:
        CheckpointError: the file is unusable, or knows fewer views.
    """
    with open_checkpoint(path, DIT.wrappers) as checkpoint:
        return _config_of(checkpoint, config, num_views)


def width_in(path: Path, config: GeneralDiTConfig) -> int | None:
    """Width of the network in a file; None if that cannot be told, and it is of another kind.

    Args:
        config: of a network with the same names.
    Raises:
        CheckpointError: the file is unusable.
    """
    with open_checkpoint(path, DIT.wrappers) as checkpoint:
        norm = _shapes_in(checkpoint, config).get(_TIME_NORM, ())
        return norm[0] if len(norm) == 1 else None


def _config_of(checkpoint: Checkpoint, config: Config, num_views: int | None) -> Config:
    shapes = _shapes_in(checkpoint, config)
    changes: dict[str, Any] = {}
    view_channels = 0
    if isinstance(config, MultiViewConfig):
        rows, view_channels = _two(shapes, _VIEWS) or (config.num_view_rows, config.view_condition_dim)
        if rows < (num_views or 1):
            raise CheckpointError(
                f"{checkpoint.path.name} knows {rows} views, and {num_views} are asked for.",
                where=str(checkpoint.path),
                fix=f"Pass --n-views {rows}, or the weights of a network for {num_views} views.",
            )
        changes |= {
            "n_views": num_views or min(rows, config.n_views),
            "n_views_emb": rows,
            "view_condition_dim": view_channels,
            "add_repeat_frame_embedding": _REPEATS in shapes,
        }
    rank = _two(shapes, _RANK)
    if config.use_adaln_lora and rank is not None:
        changes["adaln_lora_dim"] = rank[0]
    changes["legacy_patch_emb"] = len(shapes.get(_LEGACY_PATCHES, ())) == 5
    num_channels = _patch_channels(shapes, config)
    if num_channels is not None:
        num_masks = num_channels - config.in_channels - config.concat_padding_mask - view_channels
        changes["condition_mask"] = num_masks == 1
    changes["add_augment_sigma_embedding"] = any(name.startswith("augment_sigma_embedder.") for name in shapes)
    return replace(config, **changes)


def _shapes_in(checkpoint: Checkpoint, config: GeneralDiTConfig) -> Shapes:
    with torch.device("meta"):
        names = build_dit(config).state_dict().keys()
    key_of = DIT.match(checkpoint, names, checkpoint.wrapper).key_of
    return {name: tuple(checkpoint.shape(key)) for name, key in key_of.items()}


def _two(shapes: Shapes, name: str) -> tuple[int, int] | None:
    shape = shapes.get(name, ())
    return (shape[0], shape[1]) if len(shape) == 2 else None


def _patch_channels(shapes: Shapes, config: GeneralDiTConfig) -> int | None:
    """Channels that a file's network embeds patches of."""
    kernel = shapes.get(_LEGACY_PATCHES, ())
    if len(kernel) == 5:
        return kernel[1]
    weight = _two(shapes, _PATCHES)
    return None if weight is None else weight[1] // math.prod(config.patch_THW)
