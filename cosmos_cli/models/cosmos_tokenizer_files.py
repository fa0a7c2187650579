"""The published files of the Cosmos tokenizer: two halves or one, as TorchScript or tensors, and its statistics."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint
from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.torch_files import load_without_code
from cosmos_cli.checkpoints.torchscript import TorchScriptCheckpoint, is_torchscript
from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer, LatentStatistics
from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer

# Entries of the published files that hold nothing learnt: the wavelet, which is computed instead. Name and shape.
STORED_CONSTANTS = {
    "encoder.patcher3d.wavelets": (2,),
    "encoder.patcher3d._arange": (2,),
    "encoder.patcher3d.patch_size_buffer": (1,),
    "decoder.unpatcher3d.wavelets": (2,),
    "decoder.unpatcher3d._arange": (2,),
}


def load_tokenizer(
    path: Path,
    *,
    config: CosmosTokenizerConfig | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> CosmosTokenizer:
    """The network with the weights of a published folder or file.

    Args:
        path: a folder with `autoencoder.jit`, or `encoder.jit` and `decoder.jit`, or `model.pt`, or one checkpoint
            that `open_checkpoint` reads; or one such file.
        config: None for CV8x8x8.
    Raises:
        CheckpointError: files are missing, damaged, hostile, or of another network.
    """
    from cosmos_cli.checkpoints.loading import load_network  # reads safetensors; the network needs torch alone

    config = config or CosmosTokenizerConfig()
    with _open_weights(path) as checkpoint:
        build = partial(CosmosTokenizer, config)
        return load_network(build, checkpoint, naming=_naming(config), dtype=dtype, device=device)


def check_chunked_tokenizer(folder: Path, *, config: CosmosTokenizerConfig) -> None:
    """Whether a folder holds this tokenizer with its statistics; no weight is read. Errors as for `load_tokenizer`."""
    from cosmos_cli.checkpoints.loading import check_network

    with _open_weights(folder) as checkpoint:
        check_network(partial(CosmosTokenizer, config), checkpoint, naming=_naming(config))
    read_statistics(folder / "mean_std.pt", config.latent_channels)


def _naming(config: CosmosTokenizerConfig) -> Naming:
    return Naming(("network.", ""), unlearnt=_unused_names(config), beside=("ema.*",))


def read_statistics(path: Path, channels: int = 16) -> LatentStatistics:
    """Read `mean_std.pt`: a pair of tensors that list channel after channel, each all latent frames of a chunk.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or no such pair.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path.name} does not exist.", where=str(path), fix="Download the folder of the tokenizer again."
        )
    content = load_without_code(path, path)
    values = content if isinstance(content, (tuple, list)) and len(content) == 2 else ()
    tensors = [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
    if len(tensors) != 2 or tensors[0].numel() != tensors[1].numel() or tensors[0].numel() % channels:
        raise CheckpointError(
            f"{path.name} does not hold the mean and standard deviation of latents of {channels} channels.",
            where=str(path),
            fix="Give the `mean_std.pt` of this tokenizer.",
        )
    mean_CT, std_CT = (tensor.reshape(channels, -1).float() for tensor in tensors)
    if not (mean_CT.isfinite().all() and std_CT.isfinite().all() and (std_CT > 0).all()):
        raise CheckpointError(
            f"{path.name} holds values that are no statistics: infinite, or a deviation of 0 or less.",
            where=str(path),
            fix="Download it again.",
        )
    return LatentStatistics(mean_CT, std_CT)


def load_chunked_tokenizer(
    folder: Path,
    *,
    config: CosmosTokenizerConfig | None = None,
    chunk_frames: int,
    sigma_data: float,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> ChunkedTokenizer:
    """The tokenizer of a published folder for chunks of `chunk_frames` frames, with its statistics.

    Arguments otherwise, and errors, as for `load_tokenizer` and `ChunkedTokenizer`.
    """
    network = load_tokenizer(folder, config=config, dtype=dtype, device=device)
    statistics = read_statistics(folder / "mean_std.pt", network.config.latent_channels)
    return ChunkedTokenizer(network, statistics, chunk_frames=chunk_frames, sigma_data=sigma_data)


def _open_weights(path: Path) -> Checkpoint:
    from cosmos_cli.checkpoints.readers import open_checkpoint

    if path.is_dir():
        halves = (path / "encoder.jit", path / "decoder.jit")
        if (path / "autoencoder.jit").is_file():
            path = path / "autoencoder.jit"
        elif any(half.is_file() for half in halves):
            return TorchScriptCheckpoint(path, *halves)
        elif (path / "model.pt").is_file():
            path = path / "model.pt"
    return TorchScriptCheckpoint(path, path) if is_torchscript(path) else open_checkpoint(path)


def _unused_names(config: CosmosTokenizerConfig) -> tuple[str, ...]:
    """Patterns of what files may hold of it besides: wavelet constants, resamplers that never run."""
    levels = range(len(config.channels_mult))
    return (
        *STORED_CONSTANTS,
        *(f"encoder.down.{level}.downsample.*" for level in levels if not any(config.downsamples(level))),
        *(f"decoder.up.{level}.upsample.*" for level in levels if not any(config.upsamples(level))),
    )
