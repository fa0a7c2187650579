"""Videos of any length as normalised latents: what the diffusion models of the Cosmos tokenizer were trained with.

A video is cut into chunks of 121 frames, each coded on its own, and their latents are normalised. Neither way holds
more than a step of a chunk.

Axis names: B batch, C channel, T latent frames, F pixel frames, H and W height and width.

Source: cosmos-predict1, cosmos_predict1/diffusion/module/pretrained_vae.py (behaviour).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice

import torch
from torch import Tensor

from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer, join_pieces
from cosmos_cli.runtime.constants import Constants


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
        return join_pieces(self.decode_chunks(latents_BCTHW), self.num_frames(latents_BCTHW.shape[2]))

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
