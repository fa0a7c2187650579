"""Action-conditioned videos: load once, generate many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.settings import DIT, TOKENIZER
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.preview import Row
from cosmos_cli.models.t5 import NUM_TOKENS
from cosmos_plugins.predict2.action import inputs
from cosmos_plugins.predict2.action.inputs import Sample
from cosmos_plugins.predict2.action.networks import networks
from cosmos_plugins.predict2.denoise import begin_with, decode, guided, sample_latents, velocity_under
from cosmos_plugins.predict2.pipeline import Predict2Pipeline
from cosmos_plugins.predict2.variants import ACTION_FPS, ACTIONS_PER_CHUNK

# F pixel frames, H and W height and width; N actions of a chunk, A numbers of one action; L text tokens, D embedding
# width


@dataclass(frozen=True, kw_only=True)
class ActionResult(VideoResult):
    """A video of a robot that was written."""

    num_chunks: int


class ActionPipeline(Predict2Pipeline[Sample, ActionResult]):
    """A loaded action-conditioned Predict2 model.

    >>> pipeline = ActionPipeline.load(ActionSettings(model_size="tiny"))
    >>> pipeline(ActionRequest(input_video="rgb.mp4", input_annotation="13.json", save_path="out.mp4"))
    """

    inputs = inputs
    command = "cosmos predict2 action"
    build_networks = staticmethod(networks)
    tiny_note = "has random weights: frames after the first show noise"

    def make_all(self, sample: Sample, clock: Clock) -> tuple[np.ndarray, list[str]]:
        given_FHWC, frames = sample.frames_FHWC, []
        for number, actions_NA in enumerate(sample.actions_KNA):
            seed = (sample.request.seed + number * ACTIONS_PER_CHUNK) % 2**32
            make = partial(self._chunk, given_FHWC, actions_NA, seed, sample.request.num_steps, clock)
            chunk_FHWC = self.stages.run(make)
            # the frame that two chunks share is shown once
            frames.append(chunk_FHWC if number == 0 else chunk_FHWC[1:])
            given_FHWC = chunk_FHWC[-1:]
        return self.checked(np.concatenate(frames), clock), []

    def _chunk(
        self, given_FHWC: np.ndarray, actions_NA: np.ndarray, seed: int, num_steps: int, clock: Clock
    ) -> np.ndarray:
        latents = self.make_latents(given_FHWC, actions_NA, seed, num_steps, clock)
        with clock("decode"), self.stages.at_work(TOKENIZER):
            return decode(self.models.tokenizer, latents)

    @torch.inference_mode()
    def make_latents(
        self, given_FHWC: np.ndarray, actions_NA: np.ndarray, seed: int, num_steps: int, clock: Clock
    ) -> Tensor:
        """Clean latents of the clip that begins with a frame and carries out 12 actions, (1, C, 4, H, W) float32.

        Args:
            given_FHWC: the frame, (1, H, W, 3) uint8.
            actions_NA: (12, 7), scaled as the network reads them.
        """
        dit = self.models.dit
        with clock("encode_frames"), self.stages.at_work(TOKENIZER):
            given = begin_with(self.models, given_FHWC, 1 + ACTIONS_PER_CHUNK)
        with clock("denoise"), self.stages.at_work(DIT):
            no_text_BLD = torch.zeros(1, NUM_TOKENS, dit.config.crossattn_emb_channels).to(self.device, self.dtype)
            actions = dit.encode_actions(torch.from_numpy(actions_NA)[None].to(self.device, self.dtype))
            velocity = velocity_under(dit, no_text_BLD, given, self.dtype, actions)
            denoiser = guided(velocity, None, given, guidance=0.0, dtype=self.dtype)
            return sample_latents(denoiser, given, clock, num_steps=num_steps, seed=seed)

    def result(self, generated: Generated[Sample], **common: Any) -> ActionResult:
        sample = generated.sample
        num_chunks = len(sample.actions_KNA)
        return ActionResult.of(generated.frames, sample.outputs, ACTION_FPS, num_chunks=num_chunks, **common)

    def write_media(self, generated: Generated[Sample]) -> None:
        sample = generated.sample
        rows = [Row("input", sample.frames_FHWC), Row(f"output, seed {sample.request.seed}", generated.frames)]
        self.write_video(generated, generated.frames, ACTION_FPS, rows)

    def title(self, generated: Generated[Sample]) -> str:
        return str(generated.sample.request.input_annotation)
