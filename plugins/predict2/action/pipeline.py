"""Action-conditioned videos: load once, generate many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.diffusion.rectified_flow import Conditioning, Velocity, first_frames
from cosmos_cli.generation.plan import Watch
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.t5 import NUM_TOKENS
from cosmos_cli.runtime.devices import choose_device_and_dtype
from cosmos_cli.runtime.timing import timed
from cosmos_plugins.predict2.action.inputs import Sample, output_paths, prepare, weight_paths
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.denoise import decode, sample
from cosmos_plugins.predict2.memory import DIT, TOKENIZER
from cosmos_plugins.predict2.networks import Asked, Loaded, checked_guardrails, load_model
from cosmos_plugins.predict2.records import say_what_does_not_run, write_sidecar
from cosmos_plugins.predict2.variants import ACTION, ACTION_FPS, ACTIONS_PER_CHUNK

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width
# N actions of a chunk, A numbers of one action; L text tokens, D embedding width


@dataclass(frozen=True)
class ActionResult:
    """What was written, and how long its stages took.

    seconds: stage to wall time in seconds.
    not_run: stages that other plugins would bring and that did not take part.
    """

    video: Path
    sidecar: Path
    preview: Path | None
    num_frames: int
    num_chunks: int
    height: int
    width: int
    fps: int
    seconds: dict[str, float]
    not_run: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        size = f"{self.num_frames} frames, {self.width}x{self.height}, {self.fps} fps"
        return f"{self.video}  ({size}, {self.seconds['total']:.1f} s)"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Made:
    """A finished video that is not yet on disk, (F, H, W, 3) uint8."""

    sample: Sample
    frames_FHWC: np.ndarray
    seconds: dict[str, float]
    not_run: list[str]


class ActionPipeline:
    """A loaded action-conditioned Predict2 model.

    >>> pipeline = ActionPipeline.load(ActionSettings(model_size="tiny"))
    >>> pipeline(ActionRequest(input_video="rgb.mp4", input_annotation="13.json", save_path="out.mp4"))
    """

    def __init__(self, settings: ActionSettings, loaded: Loaded[ActionDiT]) -> None:
        self.settings, self.loaded = settings, loaded
        self.dit, self.vae, self.stages, self.team = loaded.dit, loaded.vae, loaded.stages, loaded.team
        self.guardrails, self.device, self.dtype = loaded.guardrails, loaded.device, loaded.dtype

    @classmethod
    def load(cls, settings: ActionSettings) -> ActionPipeline:
        """Load the DiT and the tokenizer; there is no text.

        Raises:
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_device_and_dtype(settings)
        variant = ACTION[settings.model_size]
        guardrails = checked_guardrails(settings)

        [size_px] = variant.sizes.values()
        config = variant.dit
        loaded = load_model(
            settings,
            weight_paths(settings),
            guardrails,
            config,
            lambda: ActionDiT(config, settings.attention),
            variant.vae,
            Asked(size_px=(1 + ACTIONS_PER_CHUNK, *size_px), num_items=1, guided=False),
            device=device,
            dtype=dtype,
            ema=settings.load_ema,
        )
        return cls(settings, loaded)

    def __call__(self, request: ActionRequest) -> ActionResult:
        """Make one video. Raises what `prepare` and `make` raise."""
        return self.write(self.make(prepare(self.settings, request)))

    @torch.inference_mode()
    def make(self, sample: Sample) -> Made:
        """Make one prepared video, chunk after chunk.

        Raises:
            GuardrailBlocked: the video was refused.
        """
        shows = "frames after the first show noise"
        not_run = say_what_does_not_run(self.settings, self.guardrails, shows=shows)
        seconds: dict[str, float] = {}
        with timed("total", seconds):
            given_FHWC, frames = sample.frames_FHWC, []
            for number, actions_NA in enumerate(sample.actions_KNA):
                seed = (sample.request.seed + number * ACTIONS_PER_CHUNK) % 2**32
                chunk_FHWC = self.stages.run(
                    partial(self._frames, given_FHWC, actions_NA, seed, sample.request.num_steps, seconds)
                )
                # the frame that two chunks share is shown once
                frames.append(chunk_FHWC if number == 0 else chunk_FHWC[1:])
                given_FHWC = chunk_FHWC[-1:]
            with timed("check_video", seconds):
                frames_FHWC = self.guardrails.check_video(np.concatenate(frames))
        return Made(sample, frames_FHWC, seconds, not_run)

    def _frames(
        self, given_FHWC: np.ndarray, actions_NA: np.ndarray, seed: int, num_steps: int, seconds: dict[str, float]
    ) -> np.ndarray:
        latents = self.make_chunk(given_FHWC, actions_NA, seed, num_steps, seconds)
        with timed("decode", seconds), self.stages.at_work(TOKENIZER):
            return decode(self.vae, latents)

    @torch.inference_mode()
    def make_chunk(
        self, given_FHWC: np.ndarray, actions_NA: np.ndarray, seed: int, num_steps: int, seconds: dict[str, float]
    ) -> Tensor:
        """Clean latents of the clip that begins with a frame and carries out 12 actions, (1, C, 4, H, W) float32.

        Args:
            given_FHWC: the frame, (1, H, W, 3) uint8.
            actions_NA: (12, 7), scaled as the network reads them.
            seconds: stage to wall time so far; this chunk's time is added.
        """
        with timed("encode_frames", seconds), self.stages.at_work(TOKENIZER):
            given = self.vae.encode(to_video(given_FHWC, self.device, self.dtype)).float()
            B, C, _, H, W = given.shape
            latents = given.new_zeros(B, C, self.vae.num_latent_frames(1 + ACTIONS_PER_CHUNK), H, W)
            latents[:, :, :1] = given
            conditioning = first_frames(latents, 1)
        with timed("denoise", seconds), self.stages.at_work(DIT):
            velocity = self._velocity(actions_NA, conditioning)
            return sample(velocity, None, conditioning, guidance=0.0, num_steps=num_steps, seed=seed, dtype=self.dtype)

    def _velocity(self, actions_NA: np.ndarray, conditioning: Conditioning) -> Velocity:
        """The network under the actions of one chunk and without a text."""
        _, _, T, H, W = conditioning.latents_BCTHW.shape
        config = self.dit.config
        _, patch_h, patch_w = config.patch_THW
        no_text_BLD = torch.zeros(1, NUM_TOKENS, config.crossattn_emb_channels)
        text = self.dit.encode_text(no_text_BLD.to(self.device, self.dtype))
        actions = self.dit.encode_actions(torch.from_numpy(actions_NA)[None].to(self.device, self.dtype))
        rope = self.dit.rotary_table((T, H // patch_h, W // patch_w))
        mask_B1THW = conditioning.mask_B1T11.expand(-1, -1, -1, H, W).to(self.dtype)
        return lambda x, timesteps: self.dit(x, timesteps, text, actions, condition_mask_B1THW=mask_B1THW, rope=rope)

    def write(self, made: Made, watch: Watch | None = None) -> ActionResult:
        """Write the video, the preview and the sidecar, which comes last, so it vouches for the others.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        sample, seconds = made.sample, made.seconds
        request, paths = sample.request, output_paths(sample.request)
        with timed("write", seconds):
            if self.team.is_writer:
                _write_media(made, paths)
        seconds["total"] += seconds["write"]
        result = ActionResult(
            video=paths["video"],
            sidecar=paths["sidecar"],
            preview=paths.get("preview"),
            num_frames=len(made.frames_FHWC),
            num_chunks=len(sample.actions_KNA),
            height=sample.height,
            width=sample.width,
            fps=ACTION_FPS,
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=made.not_run,
        )
        weights = weight_paths(self.settings)
        write_sidecar(
            paths["sidecar"],
            "cosmos predict2 action",
            self.settings,
            request,
            self.loaded,
            result=result.document(),
            weights={"dit": weights.dit, "tokenizer": weights.tokenizer},
            compared=watch.finish(seconds) if watch else {},
        )
        return result


def _write_media(made: Made, paths: Mapping[str, Path]) -> None:
    request = made.sample.request
    write_video(paths["video"], made.frames_FHWC, ACTION_FPS)
    if "preview" in paths:
        rows = [("input", made.sample.frames_FHWC), (f"output, seed {request.seed}", made.frames_FHWC)]
        write_png(paths["preview"], contact_sheet(str(request.input_annotation), rows))
