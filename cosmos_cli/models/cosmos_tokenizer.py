"""The Cosmos continuous video tokenizer: a causal autoencoder between pixels and the latents of the networks.

One latent frame stands for eight pixel frames (the first for one), one latent pixel for 8 x 8 pixels.
`CosmosTokenizer` is the network: one clip, latents as they are. `ChunkedTokenizer` is what the diffusion models were
trained with: it cuts a video into chunks of 121 frames, each coded on its own, and normalises their latents.

A clip passes through step by step, its first frame alone and then one latent frame at a time, so memory depends
neither on its length nor on that of the video (see the layers' module). No call builds a graph.

Axis names: B batch, C channel, T latent frames, F pixel frames, H and W height and width.

Source: cosmos-predict1, cosmos_predict1/tokenizer/networks/continuous_video.py and
cosmos_predict1/diffusion/module/pretrained_vae.py (behaviour, parameter names).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.checkpoints.checkpoint import Checkpoint
from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.torch_files import load_without_code
from cosmos_cli.checkpoints.torchscript import TorchScriptCheckpoint, is_torchscript
from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer_layers import (
    Downsample,
    FactorisedConv,
    FrameNorm,
    Level,
    Middle,
    Past,
    PointConv,
    Upsample,
    haar_patches,
    haar_pixels,
)
from cosmos_cli.runtime.constants import Constants

# Entries of the published files that hold nothing learnt: the wavelet, which is computed instead. Name and shape.
STORED_CONSTANTS = {
    "encoder.patcher3d.wavelets": (2,),
    "encoder.patcher3d._arange": (2,),
    "encoder.patcher3d.patch_size_buffer": (1,),
    "decoder.unpatcher3d.wavelets": (2,),
    "decoder.unpatcher3d._arange": (2,),
}


class Encoder(nn.Module):
    """Wavelet bands to `z_channels`, before `CosmosTokenizer.quant_conv`."""

    def __init__(self, config: CosmosTokenizerConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.conv_in = FactorisedConv(config.patch_channels, config.channels)
        self.down = nn.ModuleList()
        in_channels = config.channels
        for level, width in enumerate(config.widths):
            spatial, temporal = config.downsamples(level)
            resample = {"downsample": Downsample(width, spatial, temporal)} if spatial else {}
            self.down.append(Level([in_channels] + [width] * config.num_res_blocks, **resample))
            in_channels = width
        self.mid = Middle(in_channels)
        self.norm_out = FrameNorm(in_channels)
        self.conv_out = FactorisedConv(in_channels, config.z_channels)

    def forward(self, video_BCFHW: Tensor, past: Past) -> Tensor:
        if past.is_first_step:
            # One frame fills a patch by standing still.
            video_BCFHW = video_BCFHW.expand(-1, -1, self.patch_size, -1, -1)
        x_BCTHW = self.conv_in(haar_patches(video_BCFHW, self.patch_size), past)
        for layer in (*self.down, self.mid):
            x_BCTHW = layer(x_BCTHW, past)
        return self.conv_out(F.silu(self.norm_out(x_BCTHW), inplace=True), past)


class Decoder(nn.Module):
    """Latents, after `CosmosTokenizer.post_quant_conv`, to pixels."""

    def __init__(self, config: CosmosTokenizerConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        in_channels = config.widths[-1]
        self.conv_in = FactorisedConv(config.z_channels, in_channels)
        self.mid = Middle(in_channels)
        levels: list[Level] = []
        for level in reversed(range(len(config.widths))):
            width = config.widths[level]
            spatial, temporal = config.upsamples(level)
            resample = {"upsample": Upsample(width, spatial, temporal)} if spatial else {}
            levels.append(Level([in_channels] + [width] * (config.num_res_blocks + 1), **resample))
            in_channels = width
        # The file numbers the levels finest first; the coarsest runs first.
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = FrameNorm(in_channels)
        self.conv_out = FactorisedConv(in_channels, config.patch_channels)

    def forward(self, latents_BCTHW: Tensor, past: Past) -> Tensor:
        x_BCTHW = self.mid(self.conv_in(latents_BCTHW, past), past)
        for level in reversed(self.up):
            x_BCTHW = level(x_BCTHW, past)
        bands_BCTHW = self.conv_out(F.silu(self.norm_out(x_BCTHW), inplace=True), past)
        video_BCFHW = haar_pixels(bands_BCTHW, self.patch_size)
        return video_BCFHW[:, :, self.patch_size - 1 :] if past.is_first_step else video_BCFHW


class CosmosTokenizer(nn.Module):
    """The network, with the parameter names of the published files; computes in the dtype of its weights.

    Build it on the meta device and load the weights by assignment, which needs no initialisation.
    """

    def __init__(self, config: CosmosTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = PointConv(config.z_channels, config.latent_channels)
        self.post_quant_conv = PointConv(config.latent_channels, config.z_channels)
        self.decoder = Decoder(config)

    def forward(self, video_BCFHW: Tensor, noise_BCTHW: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode and decode clips, as a function that can be trained.

        Args:
            video_BCFHW: RGB in [-1, 1], 1 + 8 n frames, height and width multiples of 8.
            noise_BCTHW: added to the latents before they are decoded.
        Returns:
            The clips again, and their latents, not normalised, without the noise.
        """
        num_latents = self.num_latent_frames(video_BCFHW.shape[2])
        steps = min(2, num_latents)
        past, latents = Past(num_latents), []
        for piece_BCFHW in video_BCFHW.tensor_split([1], dim=2)[:steps]:
            latents.append(self.quant_conv(self.encoder(piece_BCFHW, past)))
            past.num_done += latents[-1].shape[2]
        latents_BCTHW = torch.cat(latents, dim=2)
        noisy_BCTHW = latents_BCTHW if noise_BCTHW is None else latents_BCTHW + noise_BCTHW
        past, pieces = Past(num_latents), []
        for piece_BCTHW in noisy_BCTHW.tensor_split([1], dim=2)[:steps]:
            pieces.append(self.decoder(self.post_quant_conv(piece_BCTHW), past))
            past.num_done += piece_BCTHW.shape[2]
        return torch.cat(pieces, dim=2), latents_BCTHW

    @property
    def dtype(self) -> torch.dtype:
        return self.quant_conv.conv3d.weight.dtype

    def num_latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip: its first frame is one, then each 8 frames are.

        Raises:
            ValueError: `num_frames` is not 1 + 8 n.
        """
        num_latents, rest = divmod(num_frames - 1, self.config.temporal_compression)
        if num_frames < 1 or rest:
            raise ValueError(f"a clip of {num_frames} frames: it takes 1 + {self.config.temporal_compression} n.")
        return 1 + num_latents

    def num_frames(self, num_latent_frames: int) -> int:
        """Pixel frames that `num_latent_frames` decode to."""
        return 1 + (num_latent_frames - 1) * self.config.temporal_compression

    @torch.no_grad()
    def encode(self, video_BCFHW: Tensor, latents_per_step: int = 1) -> Tensor:
        """Encode one clip; nothing is sampled.

        Args:
            video_BCFHW: RGB in [-1, 1], 1 + 8 n frames, height and width multiples of 8. Any dtype and device.
            latents_per_step: latent frames that pass through the network together after the first. More costs
                memory and changes the result by rounding only.
        Returns:
            Latents, B C 1+n H/8 W/8, not normalised, in the dtype and on the device of the weights.
        Raises:
            ValueError: a shape or `latents_per_step` is none of the above.
        """
        self.check_video(video_BCFHW)
        num_latents = self.num_latent_frames(video_BCFHW.shape[2])
        pieces = video_BCFHW.split(self.frames_of_steps(num_latents, latents_per_step), dim=2)
        return torch.cat(list(self.encode_steps(pieces, num_latents)), dim=2)

    @torch.no_grad()
    def decode(self, latents_BCTHW: Tensor, latents_per_step: int = 1) -> Tensor:
        """Decode one clip.

        Args:
            latents_BCTHW: as `encode` returns them, any dtype and device.
            latents_per_step: as for `encode`.
        Returns:
            RGB, B 3 F 8H 8W with F = `num_frames(T)`, not clamped to [-1, 1], in the dtype and on the device of the
            weights.
        Raises:
            ValueError: a shape or `latents_per_step` is none of the above.
        """
        self.check_latents(latents_BCTHW)
        num_frames = self.num_frames(latents_BCTHW.shape[2])
        return _join(self.decode_steps(latents_BCTHW, latents_per_step), num_frames)

    @torch.no_grad()
    def encode_steps(self, pieces_BCFHW: Iterable[Tensor], num_latents: int) -> Iterator[Tensor]:
        """The latents of one clip, piece by piece. The pieces are those of `frames_of_steps`."""
        past = Past(num_latents)
        for piece_BCFHW in pieces_BCFHW:
            latents_BCTHW = self.quant_conv(self.encoder(piece_BCFHW.to(self.quant_conv.conv3d.weight), past))
            past.num_done += latents_BCTHW.shape[2]
            yield latents_BCTHW

    @torch.no_grad()
    def decode_steps(self, latents_BCTHW: Tensor, latents_per_step: int = 1) -> Iterator[Tensor]:
        """The frames of one clip, piece by piece: its first, then 8 for each latent frame."""
        num_latents = latents_BCTHW.shape[2]
        past = Past(num_latents)
        for piece_BCTHW in latents_BCTHW.split(_steps(num_latents, latents_per_step), dim=2):
            inputs_BCTHW = self.post_quant_conv(piece_BCTHW.to(self.post_quant_conv.conv3d.weight))
            yield self.decoder(inputs_BCTHW, past)
            past.num_done += piece_BCTHW.shape[2]

    def frames_of_steps(self, num_latents: int, latents_per_step: int) -> list[int]:
        """Pixel frames of each step of a clip: 1, then 8 for each latent frame of the step."""
        first, *others = _steps(num_latents, latents_per_step)
        return [first, *(step * self.config.temporal_compression for step in others)]

    def check_video(self, video_BCFHW: Tensor) -> None:
        """Raise ValueError unless the shape is B 3 F H W with H and W multiples of 8."""
        shape, factor = tuple(video_BCFHW.shape), self.config.spatial_compression
        if len(shape) != 5 or shape[1] != 3 or shape[3] % factor or shape[4] % factor or 0 in shape:
            raise ValueError(f"video has shape {shape}, not (B, 3, F, H, W) with H and W multiples of {factor}.")

    def check_latents(self, latents_BCTHW: Tensor) -> None:
        """Raise ValueError unless the shape is B C T H W with the latents' number of channels."""
        shape, channels = tuple(latents_BCTHW.shape), self.config.latent_channels
        if len(shape) != 5 or shape[1] != channels or 0 in shape:
            raise ValueError(f"latents have shape {shape}, not (B, {channels}, T, H, W).")


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of the latents over the training set: C by latent frame within a chunk."""

    mean_CT: Tensor
    std_CT: Tensor

    def __post_init__(self) -> None:
        if self.mean_CT.ndim != 2 or self.mean_CT.shape != self.std_CT.shape:
            raise ValueError(
                f"shapes are {tuple(self.mean_CT.shape)} and {tuple(self.std_CT.shape)}, not (C, T) twice."
            )


class ChunkedTokenizer:
    """Videos of any number of chunks to normalised latents and back, with memory that does not depend on their length.

    The statistics differ from latent frame to latent frame of a chunk, so latents come and go in whole chunks.

    Args:
        network: codes each chunk.
        statistics: of at least as many latent frames as a chunk has; later ones are not used.
        chunk_frames: pixel frames of a chunk: 121 for one view, 57 for several.
        sigma_data: standard deviation of the latents after `encode`; the diffusion models take 0.5.
        latents_per_step: latent frames that pass through the network together after a chunk's first. More costs memory
            and changes the result by rounding only.
    Raises:
        ValueError: the statistics do not fit, or `chunk_frames` is not 1 + 8 n.
    """

    def __init__(
        self,
        network: CosmosTokenizer,
        statistics: LatentStatistics,
        *,
        chunk_frames: int = 121,
        sigma_data: float = 1.0,
        latents_per_step: int = 1,
    ) -> None:
        self.network = network
        self.chunk_frames = chunk_frames
        self.chunk_latents = network.num_latent_frames(chunk_frames)
        self.sigma_data = sigma_data
        self._latents_per_step = latents_per_step
        self._frames_of_steps = network.frames_of_steps(self.chunk_latents, latents_per_step)
        channels, num_frames = statistics.mean_CT.shape
        if channels != network.config.latent_channels or num_frames < self.chunk_latents:
            raise ValueError(
                f"statistics of {channels} channels and {num_frames} latent frames; "
                f"{network.config.latent_channels} and at least {self.chunk_latents} are needed."
            )
        self.statistics = statistics
        self._constants: Constants[tuple[Tensor, Tensor]] = Constants()

    def num_latent_frames(self, num_frames: int) -> int:
        """Latent frames of a video.

        Raises:
            ValueError: `num_frames` is neither 1 nor a multiple of `chunk_frames`.
        """
        num_chunks, rest = divmod(num_frames, self.chunk_frames)
        if num_frames == 1:
            return 1
        if rest or not num_chunks:
            raise ValueError(f"{num_frames} frames are not a multiple of the {self.chunk_frames} of a chunk.")
        return num_chunks * self.chunk_latents

    def num_frames(self, num_latent_frames: int) -> int:
        """Pixel frames of a video.

        Raises:
            ValueError: `num_latent_frames` is neither 1 nor a multiple of `chunk_latents`.
        """
        num_chunks, rest = divmod(num_latent_frames, self.chunk_latents)
        if num_latent_frames == 1:
            return 1
        if rest or not num_chunks:
            raise ValueError(
                f"{num_latent_frames} latent frames are not a multiple of the {self.chunk_latents} of a chunk."
            )
        return num_chunks * self.chunk_frames

    def normalise(self, latents_BCTHW: Tensor, first: int = 0) -> Tensor:
        """Latents of the network to mean 0 and standard deviation `sigma_data`, in their own dtype.

        Args:
            first: index of the first latent frame in its chunk.
        """
        mean, std = self._mean_std(latents_BCTHW, first)
        return (latents_BCTHW - mean) / std * self.sigma_data

    def denormalise(self, latents_BCTHW: Tensor, first: int = 0) -> Tensor:
        """Undo `normalise`."""
        mean, std = self._mean_std(latents_BCTHW, first)
        return latents_BCTHW / self.sigma_data * std + mean

    def _mean_std(self, like_BCTHW: Tensor, first: int) -> tuple[Tensor, Tensor]:
        def rounded() -> tuple[Tensor, Tensor]:
            # Rounded as the network's weights are, whatever the latents are computed in.
            statistics, dtype = self.statistics, self.network.dtype
            return statistics.mean_CT.to(dtype).to(like_BCTHW), statistics.std_CT.to(dtype).to(like_BCTHW)

        mean_CT, std_CT = self._constants((self.network.dtype, like_BCTHW.dtype, like_BCTHW.device), rounded)
        frames = slice(first, first + like_BCTHW.shape[2])
        return mean_CT[:, frames, None, None], std_CT[:, frames, None, None]

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        """Encode a video to normalised latents.

        Args:
            video_BCFHW: RGB in [-1, 1], a multiple of `chunk_frames` frames, or one, which is a picture; height and
                width multiples of 8. Any dtype and device; it is moved step by step.
        Returns:
            Latents, B C T H/8 W/8 with T = F / `chunk_frames` * `chunk_latents`, 1 of a picture, in the dtype of the
            video, on the device of the weights.
        Raises:
            ValueError: the shape is none of the above.
        """
        self.network.check_video(video_BCFHW)
        if video_BCFHW.shape[2] == 1:
            return self.normalise(self.network.encode(video_BCFHW).to(video_BCFHW.dtype))
        if video_BCFHW.shape[2] % self.chunk_frames:
            raise ValueError(f"{video_BCFHW.shape[2]} frames are not a multiple of the {self.chunk_frames} of a chunk.")
        return torch.cat(list(self.encode_chunks([video_BCFHW])), dim=2)

    @torch.no_grad()
    def encode_chunks(self, pieces_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode a video that arrives in pieces of any length.

        Arguments and errors are those of `encode`; joined along the frames, so is the result. The latents come in
        steps, each as soon as it is there, so a video that ends within a chunk is found out last.
        """
        pieces = _regroup(self._checked(pieces_BCFHW), cycle(self._frames_of_steps))
        for first_BCFHW in pieces:
            chunk = chain([first_BCFHW], islice(pieces, len(self._frames_of_steps) - 1))
            num_done = 0
            for latents_BCTHW in self.network.encode_steps(chunk, self.chunk_latents):
                yield self.normalise(latents_BCTHW.to(first_BCFHW.dtype), num_done)
                num_done += latents_BCTHW.shape[2]
            if num_done != self.chunk_latents:
                raise ValueError(f"the number of frames is not a multiple of the {self.chunk_frames} of a chunk.")

    def decode(self, latents_BCTHW: Tensor) -> Tensor:
        """Decode normalised latents to a video.

        Args:
            latents_BCTHW: as `encode` returns them, a multiple of `chunk_latents` frames, or one, which is a picture;
                any dtype and device.
        Returns:
            RGB, B 3 F 8H 8W, not clamped to [-1, 1], in the dtype of the latents, on the device of the weights.
        Raises:
            ValueError: the shape is none of the above.
        """
        self.network.check_latents(latents_BCTHW)
        return _join(self.decode_chunks(latents_BCTHW), self.num_frames(latents_BCTHW.shape[2]))

    @torch.no_grad()
    def decode_chunks(self, latents_BCTHW: Tensor) -> Iterator[Tensor]:
        """Decode piece by piece: of each chunk its first frame, then 8 for each latent frame.

        Arguments and errors are those of `decode`; joined along the frames, so is the result.
        """
        self.network.check_latents(latents_BCTHW)
        num_latents = latents_BCTHW.shape[2]
        if num_latents % self.chunk_latents and num_latents != 1:
            raise ValueError(f"{num_latents} latent frames are not a multiple of the {self.chunk_latents} of a chunk.")
        for chunk_BCTHW in latents_BCTHW.split(self.chunk_latents, dim=2):
            for video_BCFHW in self.network.decode_steps(self.denormalise(chunk_BCTHW), self._latents_per_step):
                yield video_BCFHW.to(latents_BCTHW.dtype)

    def _checked(self, pieces_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
        for piece_BCFHW in pieces_BCFHW:
            self.network.check_video(piece_BCFHW)
            yield piece_BCFHW


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


def _steps(num_latents: int, latents_per_step: int) -> list[int]:
    """Latent frames of each step of a clip."""
    if latents_per_step < 1:
        raise ValueError(f"latents_per_step is {latents_per_step}, not a positive number.")
    num_full, rest = divmod(num_latents - 1, latents_per_step)
    return [1, *[latents_per_step] * num_full, *([rest] if rest else [])]


def _regroup(pieces_BCFHW: Iterable[Tensor], sizes: Iterable[int]) -> Iterator[Tensor]:
    """Cut what arrives in pieces of any length into pieces of these sizes, the last perhaps smaller."""
    arriving = iter(pieces_BCFHW)
    held: list[Tensor] = []
    for size in sizes:
        while sum(piece.shape[2] for piece in held) < size:
            piece_BCFHW = next(arriving, None)
            if piece_BCFHW is None:
                if held:
                    yield torch.cat(held, dim=2)
                return
            held.append(piece_BCFHW)
        joined_BCFHW = torch.cat(held, dim=2) if len(held) > 1 else held[0]
        yield joined_BCFHW[:, :, :size]
        held = [joined_BCFHW[:, :, size:]] if joined_BCFHW.shape[2] > size else []


def _join(pieces_BCFHW: Iterable[Tensor], num_frames: int) -> Tensor:
    """Join along the frames, each piece written to its place as it comes."""
    video_BCFHW: Tensor | None = None
    start = 0
    for piece_BCFHW in pieces_BCFHW:
        if video_BCFHW is None:
            batch, channels, _, height, width = piece_BCFHW.shape
            video_BCFHW = piece_BCFHW.new_empty(batch, channels, num_frames, height, width)
        video_BCFHW[:, :, start : start + piece_BCFHW.shape[2]] = piece_BCFHW
        start += piece_BCFHW.shape[2]
    assert video_BCFHW is not None
    return video_BCFHW
