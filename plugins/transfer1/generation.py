"""One video in the making: its chunks one after the other, each from control videos over latents to frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.ab2 import Denoiser
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.generation.load import Models
from cosmos_cli.generation.settings import DIT, TOKENIZER
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import check_pixels, to_frames_truncated, to_video
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.runtime.finite import check_given
from cosmos_plugins.transfer1.chunks import Chunk, plan_chunks, take
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, RegionTexts, SharedInputs, TiledDenoiser
from cosmos_plugins.transfer1.regions import token_masks
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA
from cosmos_plugins.transfer1.samples import Sample
from cosmos_plugins.transfer1.tiles import merge_tiles, split_tiles, tiles_of_frames
from cosmos_plugins.transfer1.variants import UPSCALE_FACTOR
from cosmos_plugins.transfer1.weights import has_maps, normalise_maps, normalise_numbers, stretch_time, to_patch_grid

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width of the whole picture, in pixels
# or latents, h and w of a tile of it; N tiles; L text tokens, D embedding width
# A picture that the networks see whole is one tile.

SIGMA_MIN = 0.002


@dataclass(frozen=True)
class Texts:
    """Embeddings (1, L, D) of the prompt, the negative prompt and the prompts of the sample's regions."""

    prompt_BLD: Tensor
    negative_BLD: Tensor
    regions_BLD: tuple[Tensor, ...] = ()


class Generation:
    """A sample on its way to frames.

    Args:
        branches: the branch of each of the sample's controls.
        clock: what the stages take is added there.
        guidance: strength of classifier-free guidance; 0 is unguided.
        is_distilled: the networks need one step.
    """

    def __init__(
        self,
        models: Models[GeneralDiT, ChunkedTokenizer],
        sample: Sample,
        branches: Sequence[ControlBranch],
        texts: Texts,
        clock: Clock,
        *,
        guidance: float,
        is_distilled: bool = False,
    ) -> None:
        self._models, self._sample, self._branches = models, sample, branches
        self._texts, self._clock = texts, clock
        self._guidance, self._is_distilled = guidance, is_distilled
        self._tile = (sample.height, sample.width)

    def frames(self) -> np.ndarray:
        """The whole video, (F, H, W, 3) uint8, as long as the sample."""
        return np.concatenate(list(self.pieces()))

    def pieces(self) -> Iterator[np.ndarray]:
        """The video piece by piece, (F, H, W, 3) uint8, each as soon as its chunk is made."""
        num_frames, request = self._sample.num_frames, self._sample.request
        chunks = plan_chunks(num_frames, request.num_input_frames, self._models.tokenizer.chunk_frames)
        if len(chunks) > 1 or num_frames < chunks[-1].stop:
            output.notice(
                f"{num_frames} frames are made in {len(chunks)} chunk(s) of {chunks[0].stop}; inputs are padded with "
                "their last frame, and the video is cut back"
            )
        previous: np.ndarray | None = None
        for chunk in chunks:
            with self._clock("encode"), self._models.stages.at_work(TOKENIZER):
                hints = self._encode_hints(chunk)
                start, sigma_max = self._start(chunk, hints)
                conditionings = self._condition(previous, start)
            with self._clock("denoise"):
                latents = self._denoise(chunk, hints, start, sigma_max, conditionings)
            with self._clock("decode"), self._models.stages.at_work(TOKENIZER):
                made, previous = self._decode(latents)
            yield made[chunk.num_shared : num_frames - chunk.start]

    def _encode_hints(self, chunk: Chunk) -> list[list[Hint]]:
        """The hints of every tile."""
        latents = [self._encode_tiles(take(control.frames_FHWC, chunk)) for control in self._sample.controls]
        weights = self._weights(chunk)
        return [
            [
                Hint(branch, latents_NCTHW[tile : tile + 1], weight[tile] if isinstance(weight, list) else weight)
                for branch, latents_NCTHW, weight in zip(self._branches, latents, weights, strict=True)
            ]
            for tile in range(len(latents[0]))
        ]

    def _weights(self, chunk: Chunk) -> list[float | list[Tensor]]:
        """What each control weighs: a number, or for each tile a map (1, 1, T, h/2, w/2), if any weight is a map."""
        weights = [control.weight for control in self._sample.controls]
        if not has_maps(weights):
            return [*normalise_numbers([float(weight) for weight in weights]).tolist()]
        parts = [
            take(stretch_time(weight, self._sample.num_frames), chunk)
            if isinstance(weight, np.ndarray) and weight.ndim == 3
            else weight
            for weight in weights
        ]
        height, width = self._sample.controls[0].frames_FHWC.shape[1:3]
        maps = normalise_maps(parts, chunk.stop - chunk.start, height, width)
        tiles = split_tiles(maps, *self._tile)
        on_grid = [to_patch_grid(tile, self._grid(chunk)).to(self._models.device, self._models.dtype) for tile in tiles]
        return [list(of_control) for of_control in torch.stack(on_grid, dim=1)]

    def _grid(self, chunk: Chunk) -> tuple[int, int, int]:
        """Latent frames, and rows and columns of patches, of a chunk of one tile."""
        tokenizer = self._models.tokenizer
        _, patch_h, patch_w = self._models.dit.config.patch_THW
        height, width = (size // tokenizer.network.config.spatial_compression for size in self._tile)
        return tokenizer.num_latent_frames(chunk.stop - chunk.start), height // patch_h, width // patch_w

    def _encode_tiles(self, frames_FHWC: np.ndarray) -> Tensor:
        """Latents of a whole chunk of frames, tile by tile, (N, C, T, h, w)."""
        latents_NCTHW = torch.cat(
            [
                self._models.tokenizer.encode(to_video(tile, self._models.device, self._models.dtype))
                for tile in tiles_of_frames(frames_FHWC, *self._tile)
            ]
        )
        check_given(latents_NCTHW)
        return latents_NCTHW

    def _seed(self, chunk: Chunk) -> int:
        return self._sample.request.seed + chunk.number

    def _steered(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser of the chunk that was started last, as the sampler asks it; a kind may change what it sees."""
        return denoiser

    def _start(self, chunk: Chunk, hints: Sequence[Sequence[Hint]]) -> tuple[Tensor, float]:
        """The latents of all tiles that denoising starts from, (N, C, T, h, w), and their noise level."""
        request, models = self._sample.request, self._models
        seed, shape = self._seed(chunk), hints[0][0].latents_BCTHW.shape
        if self._is_distilled:
            return generator_noise(shape, seed).to(models.device, models.dtype) * PURE_NOISE_SIGMA, PURE_NOISE_SIGMA
        if self._sample.frames_FHWC is None:
            noise = arch_invariant_noise(shape, seed).to(models.device)
            return noise.repeat(len(hints), 1, 1, 1, 1) * PURE_NOISE_SIGMA, PURE_NOISE_SIGMA
        latents = self._encode_tiles(take(self._sample.frames_FHWC, chunk))
        # every tile starts from the same noise; in the network's dtype, as the originals start
        noise = generator_noise(shape, seed).to(models.device, models.dtype)
        return latents + noise * request.sigma_max, request.sigma_max

    def _condition(self, previous_FHWC: np.ndarray | None, start_NCTHW: Tensor) -> list[Conditioning | None]:
        """The frames carried over from the chunk before, as latents of every tile.

        None for the first chunk and for networks without. The encoder is causal, so encoding these frames alone equals
        encoding them with any filler behind.
        """
        models, num_tiles = self._models, len(start_NCTHW)
        if previous_FHWC is None or not models.dit.config.condition_mask:
            return [None] * num_tiles
        conditionings: list[Conditioning | None] = []
        for tile in tiles_of_frames(previous_FHWC, *self._tile):
            video = to_video(tile, models.device, models.dtype)
            given = models.tokenizer.normalise(models.tokenizer.network.encode(video).to(video.dtype))
            check_given(given)
            latents = torch.zeros_like(start_NCTHW[:1], dtype=models.dtype)
            latents[:, :, : given.shape[2]] = given
            conditionings.append(first_frames(latents, given.shape[2]))
        return conditionings

    def _denoise(
        self,
        chunk: Chunk,
        hints: Sequence[Sequence[Hint]],
        start_NCTHW: Tensor,
        sigma_max: float,
        conditionings: Sequence[Conditioning | None],
    ) -> Tensor:
        """The sampling loop of one chunk; clean latents of all tiles in the dtype of the start."""
        request, models = self._sample.request, self._models
        noise = arch_invariant_noise(start_NCTHW[:1].shape, self._seed(chunk)).to(models.device)
        num_steps = 1 if self._is_distilled else request.num_steps
        with (
            models.stages.at_work(DIT),
            self._clock.denoising(num_steps, f"Denoising chunk {chunk.number + 1},", num_tiles=len(hints)) as steps,
        ):
            shared = SharedInputs.of(
                models.dit,
                chain.from_iterable(hints),
                start_NCTHW.shape[2:],
                self._texts.prompt_BLD,
                self._texts.negative_BLD,
                guidance=self._guidance,
                fps=request.fps,
                regions=self._regions(chunk),
            )
            tiles = [
                ControlledDenoiser(
                    shared,
                    of_tile,
                    conditioning=conditioning,
                    noise_BCTHW=noise,
                    dtype=models.dtype,
                    guidance_group=models.team.guidance_group,
                )
                for of_tile, conditioning in zip(hints, conditionings, strict=True)
            ]
            if self._is_distilled:
                [denoiser] = tiles
                x0 = steps.watched(denoiser)(start_NCTHW, torch.full((), sigma_max, device=models.device))
                steps()
                return x0
            whole: Denoiser = tiles[0]
            if models.dit.config.condition_mask:
                whole = TiledDenoiser(tiles, *self._canvas_latents(), on_tile=steps.tile)
            sigmas = karras_sigmas(num_steps, SIGMA_MIN, sigma_max)
            return sample_res(steps.watched(self._steered(whole)), start_NCTHW, sigmas, steps)

    def _regions(self, chunk: Chunk) -> RegionTexts | None:
        if not self._sample.regions:
            return None
        maps = [take(region.map_Fhw, chunk) for region in self._sample.regions]
        return RegionTexts(self._texts.regions_BLD, token_masks(maps, self._grid(chunk)))

    def _canvas_latents(self) -> tuple[int, int]:
        compression = self._models.tokenizer.network.config.spatial_compression
        height, width = self._sample.controls[0].frames_FHWC.shape[1:3]
        return height // compression, width // compression

    def _decode(self, latents_NCTHW: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of one chunk, (F, H, W, 3) uint8, and the last of them at the size that the next chunk begins with."""
        num_shared, tokenizer = self._sample.request.num_input_frames, self._models.tokenizer
        if not self._sample.request.is_upscaling:
            frames = np.concatenate(list(map(to_frames_truncated, tokenizer.decode_chunks(latents_NCTHW))))
            return frames, frames[-num_shared:]
        # in the networks' dtype and on the host: a chunk of nine tiles in float32 would take 12 GB at 4K
        tiles_NCFhw = torch.cat(
            [
                torch.cat([part.to("cpu", self._models.dtype) for part in tokenizer.decode_chunks(tile)], dim=2)
                for tile in latents_NCTHW.split(1)
            ]
        )
        check_pixels(tiles_NCFhw)
        made, carried = [], []
        for i in range(tiles_NCFhw.shape[2]):
            canvas_CHW = self._merged(tiles_NCFhw[:, :, i])
            made.append(_to_image(_enlarged(canvas_CHW, *(UPSCALE_FACTOR * size for size in self._tile))))
            if i >= tiles_NCFhw.shape[2] - num_shared:
                carried.append(_to_image(canvas_CHW))
        return np.stack(made), np.stack(carried)

    def _merged(self, tiles_NChw: Tensor) -> Tensor:
        """One frame put together from its tiles, (C, H, W) float32 in [0, 1]."""
        size = self._sample.controls[0].frames_FHWC.shape[1:3]
        unit_N11Chw = ((tiles_NChw + 1).clamp(0, 2) / 2).float()[:, None, None]
        return merge_tiles(unit_N11Chw, *size)[0, 0]


def _enlarged(canvas_CHW: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(canvas_CHW[None], size=(height, width), mode="bicubic")[0].clamp(0, 1)


def _to_image(unit_CHW: Tensor) -> np.ndarray:
    """(H, W, C) uint8, cut down to whole numbers as the original does."""
    return (unit_CHW * 255).to(torch.uint8).permute(1, 2, 0).numpy()


def generator_noise(shape: torch.Size, seed: int) -> Tensor:
    """Standard normal noise from the CPU, so that the video does not depend on the device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
