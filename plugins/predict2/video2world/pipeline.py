"""Video2World: load once, generate many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from cosmos_cli import output
from cosmos_cli.files.side_work import side_work
from cosmos_cli.generation import tiny_rewriter
from cosmos_cli.generation.load import OwnRefiner, installed_refiners
from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.settings import TOKENIZER, negative_prompt_of
from cosmos_cli.generation.steps import Clock, OnStep
from cosmos_cli.media.preview import Row
from cosmos_cli.media.source import digest_of, is_there
from cosmos_cli.models.prompts import Refiner, checked_prompt
from cosmos_plugins.predict2.denoise import begin_with, decode
from cosmos_plugins.predict2.pipeline import Predict2Pipeline
from cosmos_plugins.predict2.refiner import WAY_OUT, own_refiner, refiner_on_server
from cosmos_plugins.predict2.video2world import inputs
from cosmos_plugins.predict2.video2world.inputs import Sample
from cosmos_plugins.predict2.video2world.long_video import make_chunks
from cosmos_plugins.predict2.video2world.networks import networks
from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings

# F pixel frames, H and W height and width

NUM_BENCHMARK_RUNS = 4


class Video2WorldPipeline(Predict2Pipeline[Sample, VideoResult]):
    """A loaded Predict2 Video2World model.

    >>> pipeline = Video2WorldPipeline.load(Video2WorldSettings(model_size="tiny"))
    >>> pipeline(Video2WorldRequest(input_path="street.jpg", prompt="The bus drives off.", save_path="out.mp4"))
    """

    inputs = inputs
    command = "cosmos predict2 video2world"
    build_networks = staticmethod(networks)
    tiny_note = "knows rendered rooms alone"

    @classmethod
    def refiners(cls, settings: Video2WorldSettings) -> tuple[OwnRefiner | None, Callable[[], Mapping[str, Refiner]]]:
        if not settings.may_refine:
            return None, dict
        if settings.refiner_url is not None:
            refiner = refiner_on_server(settings.refiner_url, settings.refiner_model)
            return None, lambda: {refiner.name: refiner}
        if inputs.refines_by_rule(settings):
            return None, tiny_rewriter.by_rule
        if inputs.refines_itself(settings):
            return own_refiner(settings.checkpoint_dir), dict
        return None, partial(installed_refiners, settings)

    def make(self, sample: Sample, *, on_step: OnStep | None = None) -> Generated[Sample]:
        if not sample.request.benchmark:
            return super().make(sample, on_step=on_step)
        # the first run warms up: kernels are chosen and the text embedding is cached
        make = super().make
        runs = [make(sample, on_step=on_step) for _ in range(NUM_BENCHMARK_RUNS)]
        mean = sum(run.seconds["total"] for run in runs[1:]) / (NUM_BENCHMARK_RUNS - 1)
        output.notice(f"benchmark: {mean:.2f} s, mean of {NUM_BENCHMARK_RUNS - 1} runs after one discarded")
        runs[-1].seconds["benchmark_mean"] = mean
        return runs[-1]

    def make_all(self, sample: Sample, clock: Clock) -> tuple[np.ndarray, list[str]]:
        return make_chunks(sample, sample.request.num_chunks, partial(self.make_clip, clock=clock))

    def check_prompts(self, sample: Sample) -> str:
        prompt, refiners = inputs.full_prompt(self.settings, sample.request), self.models.refiners
        return checked_prompt(prompt, sample.source_FHWC, self.guardrails, refiners, way_out=WAY_OUT)

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        request = sample.request
        with clock("encode_text"):
            context, negative = self.models.encode_prompts(prompt, negative_prompt_of(self.settings, request))
        with clock("encode_frames"), self.stages.at_work(TOKENIZER):
            given = begin_with(self.models, sample.frames_FHWC, sample.num_frames)
        latents = self.denoise(given, context, negative, request, clock)
        with clock("decode"), self.stages.at_work(TOKENIZER):
            return decode(self.models.tokenizer, latents)[: sample.num_frames]

    def before(self, sample: Sample) -> None:
        if not sample.request.prompt:
            output.notice("the prompt is empty: the input alone says what shall happen")

    def lacks(self, sample: Sample) -> Iterable[str]:
        prefix = self.settings.prompt_prefix_used
        if self.settings.disable_prompt_refiner:
            yield "prompt refiner: disabled, the prompt is used as given"
        elif not self.settings.may_refine:
            yield f"prompt refiner: none with --gr00t-variant; the prompt begins with {prefix!r}"
        elif inputs.refines_by_rule(self.settings):
            yield tiny_rewriter.says_so("prompt refiner")

    def result(self, generated: Generated[Sample], **common: Any) -> VideoResult:
        return VideoResult.of(generated.frames, generated.sample.outputs, self.settings.fps, **common)

    def write_media(self, generated: Generated[Sample]) -> None:
        sample = generated.sample
        rows = [
            Row("input", sample.frames_FHWC, sample.first_given),
            Row(f"output, seed {sample.request.seed}", generated.frames),
        ]
        self.write_video(generated, generated.frames, self.settings.fps, rows)

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        source = generated.sample.request.input_path
        digest = None
        with side_work("the sidecar does not say which file the input was"):
            # frames that another model made need not lie in a file
            digest = digest_of(source) if is_there(source) else None
        return {
            "input_sha256": digest,
            "prompt_used": generated.prompt,
            "prompts_of_chunks": generated.prompts,
            "refined_by": list(self.models.refiners)[:1],
        }
