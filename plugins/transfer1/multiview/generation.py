"""One scene in the making: its clips one after the other, each from control videos over latents to frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.generation.load import Models
from cosmos_cli.generation.settings import DIT, TOKENIZER
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_frames_truncated, to_video
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.runtime.finite import check_given
from cosmos_plugins.transfer1.chunks import Chunk, take
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, SharedInputs
from cosmos_plugins.transfer1.multiview.samples import Sample
from cosmos_plugins.transfer1.weights import normalise_numbers

# B batch, V views, C latent channels, T latent frames of all views, F pixel frames of one, H and W height and width
# L text tokens, D embedding width

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
FRONT = 0
"""The view that is given whole."""


class Generation:
    """A sample on its way to frames.

    Args:
        branches: modality to the branch of each of the sample's controls.
        text_BLD: contexts of all prompts, one after the other, (1, V * L, D).
        clock: what the stages take is added there.
    """

    def __init__(
        self,
        models: Models[MultiViewDiT, ChunkedTokenizer],
        sample: Sample,
        branches: dict[str, ControlBranch],
        text_BLD: Tensor,
        clock: Clock,
    ) -> None:
        self._models, self._sample, self._branches = models, sample, branches
        self._text, self._clock = text_BLD, clock

    def frames(self) -> np.ndarray:
        """All views, (V, F, H, W, 3) uint8."""
        sample, stages = self._sample, self._models.stages
        made: list[np.ndarray] = []
        for clip in sample.clips:
            previous = made[-1][:, -clip.num_shared :] if made else sample.initial_VFHWC
            with self._clock("encode"), stages.at_work(TOKENIZER):
                hints = self._encode_hints(clip)
                conditioning = self.condition(clip, previous)
            with self._clock("denoise"), stages.at_work(DIT):
                latents = self._denoise(clip, hints, conditioning)
            with self._clock("decode"), stages.at_work(TOKENIZER):
                made.append(self._decode(latents))
        return np.concatenate([made[0], *(frames[:, sample.clips[0].num_shared :] for frames in made[1:])], axis=1)

    def _encode_hints(self, clip: Chunk) -> list[Hint]:
        controls = self._sample.controls
        weights = normalise_numbers([control.weight for control in controls]).tolist()
        return [
            Hint(self._branches[control.name], self._encode_views(control.frames_VFHWC, clip), weight)
            for control, weight in zip(controls, weights, strict=True)
        ]

    def _encode_views(self, frames_VFHWC: np.ndarray, clip: Chunk) -> Tensor:
        """Latents of every view's part in a clip, one view after the other, (1, C, T, H, W)."""
        models = self._models
        views = (to_video(take(view_FHWC, clip), models.device, models.dtype) for view_FHWC in frames_VFHWC)
        latents_BCTHW = torch.cat([models.tokenizer.encode(video) for video in views], dim=2)
        check_given(latents_BCTHW)
        return latents_BCTHW

    def condition(self, clip: Chunk, previous_VFHWC: np.ndarray | None) -> Conditioning:
        """What is given of a clip: the whole front view, and of every view the frames that it shares.

        The encoder is causal, so encoding the shared frames alone equals encoding them with any filler behind. Unlike
        the controls, given frames are brought to [-1, 1] in float32, as in the originals.
        """
        models, num_views, num_given = self._models, len(self._sample.cameras), 0
        tokenizer = models.tokenizer
        front = tokenizer.encode(to_video(take(self._sample.front_FHWC, clip), models.device, torch.float32))
        latents_VCTHW = torch.zeros_like(front, dtype=models.dtype).repeat(num_views, 1, 1, 1, 1)
        if previous_VFHWC is not None:
            for latents_CTHW, frames_FHWC in zip(latents_VCTHW, previous_VFHWC, strict=True):
                video = to_video(frames_FHWC, models.device, torch.float32)
                [given_CTHW] = tokenizer.normalise(tokenizer.network.encode(video).to(video.dtype))
                num_given = given_CTHW.shape[1]
                latents_CTHW[:, :num_given] = given_CTHW
        latents_VCTHW[FRONT] = front[0]
        latents_BCTHW = torch.cat(latents_VCTHW.split(1), dim=2)
        check_given(latents_BCTHW)
        return given_views(latents_BCTHW, num_views, num_frames=num_given, whole_views=(FRONT,))

    def _denoise(self, clip: Chunk, hints: list[Hint], conditioning: Conditioning) -> Tensor:
        """The sampling loop of one clip; returns clean latents of all views, float32."""
        request, models = self._sample.request, self._models
        noise = arch_invariant_noise(conditioning.latents_BCTHW.shape, request.seed + clip.number).to(models.device)
        sigmas = karras_sigmas(request.num_steps, SIGMA_MIN, SIGMA_MAX)
        with self._clock.denoising(request.num_steps, f"Denoising clip {clip.number + 1},") as steps:
            shared = SharedInputs.of(
                models.dit,
                hints,
                noise.shape[2:],
                self._text,
                torch.zeros_like(self._text),
                guidance=request.guidance,
                fps=request.fps,
                view_indices_V=torch.tensor([camera.view_index for camera in self._sample.cameras]),
            )
            denoiser = ControlledDenoiser(
                shared,
                hints,
                conditioning=conditioning,
                noise_BCTHW=noise,
                sigma_augment=0.0,
                dtype=models.dtype,
                guidance_group=models.team.guidance_group,
            )
            return sample_res(steps.watched(denoiser), noise * SIGMA_MAX, sigmas, steps)

    def _decode(self, latents_BCTHW: Tensor) -> np.ndarray:
        """Pixels of one clip, (V, F, H, W, 3) uint8."""
        videos = self._models.tokenizer.decode_chunks(latents_BCTHW)
        frames = np.concatenate([to_frames_truncated(video) for video in videos])
        return frames.reshape(len(self._sample.cameras), -1, *frames.shape[1:])
