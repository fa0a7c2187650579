"""Every kind of generation at its published size, run from frames to frames on a GPU that is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from cosmos_cli.generation import networks as general_networks
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.load import Built, Models, Where
from cosmos_cli.generation.pipeline import Pipeline
from cosmos_cli.generation.settings import DIT
from cosmos_cli.generation.steps import Clock, Steps
from cosmos_cli.generation.variants import PUBLISHED_HELPERS
from cosmos_cli.generation.work import Rig, Work
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.models import cosmos_tokenizer, cosmos_tokenizer_files, general_dit_layers, minimal_dit_layers, wan_vae
from cosmos_cli.models.chunked_tokenizer import LatentStatistics
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.dit_layers import ShardableAttention
from cosmos_cli.runtime.workers.team import Team
from cosmos_plugins.nemo_bridge import inputs as nemo_inputs
from cosmos_plugins.nemo_bridge import model as nemo_model
from cosmos_plugins.nemo_bridge.pipeline import NemoPipeline
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings
from cosmos_plugins.predict1_multiview.multiview import inputs as prompted_inputs
from cosmos_plugins.predict1_multiview.multiview.network import network_of
from cosmos_plugins.predict1_multiview.multiview.pipeline import MultiviewPipeline as PromptedPipeline
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest as PromptedRequest
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewSettings as PromptedSettings
from cosmos_plugins.predict1_multiview.multiview.samples import Sample as PromptedSample
from cosmos_plugins.predict1_multiview.multiview.samples import output_paths as prompted_paths
from cosmos_plugins.predict1_multiview.multiview.samples import weight_paths as prompted_weights
from cosmos_plugins.predict1_multiview.single_view import inputs as single_inputs
from cosmos_plugins.predict1_multiview.single_view.network import model_of
from cosmos_plugins.predict1_multiview.text2world.pipeline import Text2WorldPipeline as PromptedVideoPipeline
from cosmos_plugins.predict1_multiview.text2world.requests import Text2WorldRequest as PromptedVideoRequest
from cosmos_plugins.predict1_multiview.text2world.requests import Text2WorldSettings as PromptedVideoSettings
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW
from cosmos_plugins.predict1_multiview.video2world.pipeline import Video2WorldPipeline as PredictedPipeline
from cosmos_plugins.predict1_multiview.video2world.requests import Video2WorldRequest as PredictedRequest
from cosmos_plugins.predict1_multiview.video2world.requests import Video2WorldSettings as PredictedSettings
from cosmos_plugins.predict2 import networks as predict2_networks
from cosmos_plugins.predict2.action import inputs as action_inputs
from cosmos_plugins.predict2.action.pipeline import ActionPipeline
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.multiview import inputs as views_inputs
from cosmos_plugins.predict2.multiview.pipeline import MultiviewPipeline as ViewsPipeline
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest as ViewsRequest
from cosmos_plugins.predict2.multiview.requests import MultiviewSettings as ViewsSettings
from cosmos_plugins.predict2.text2image import inputs as image_inputs
from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.inputs import divide
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world import inputs as video_inputs
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.transfer1 import generation as transfer_generation
from cosmos_plugins.transfer1 import inputs as transfer_inputs
from cosmos_plugins.transfer1 import networks as transfer_networks
from cosmos_plugins.transfer1.multiview import generation as scene_generation
from cosmos_plugins.transfer1.multiview import inputs as scene_inputs
from cosmos_plugins.transfer1.multiview import networks as scene_networks
from cosmos_plugins.transfer1.multiview.clips import clips_of
from cosmos_plugins.transfer1.multiview.pipeline import MultiviewPipeline as ScenePipeline
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest as SceneRequest
from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings as SceneSettings
from cosmos_plugins.transfer1.multiview.samples import Control as SceneControl
from cosmos_plugins.transfer1.multiview.samples import Sample as SceneSample
from cosmos_plugins.transfer1.multiview.samples import output_paths as scene_paths
from cosmos_plugins.transfer1.multiview.samples import weight_paths as scene_weights
from cosmos_plugins.transfer1.networks import networks as transfer_build
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.regional_prompts import RegionalPrompt
from cosmos_plugins.transfer1.regions import box_map
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Control, Region, Sample, output_paths
from cosmos_plugins.transfer1.tiles import upscaled_size
from cosmos_plugins.transfer1.variants import VARIANTS
from tests.gpu_without_gpu.fake_cuda import DEVICE, Event, Record, black, fake_cuda, unfilled

HEIGHT, WIDTH = 704, 1280
NUM_STEPS = 2
"""The second has what the first left behind."""


@dataclass(frozen=True)
class Kind:
    """One kind of run.

    settings, request: as a user gives them.
    sample: its input, read.
    build: the family's own function that builds the networks, from the settings and the request.
    """

    pipeline: type[Pipeline[Any, Any]]
    settings: Any
    request: Any
    work: Callable[[], Work]
    sample: Callable[[], Any]
    build: Callable[[], Callable[[Where], Built[Any, Any]]]


@dataclass
class Measured:
    """What a kind was seen to take.

    planned, peak: stage to bytes beside the weights.
    events: of each stage.
    steps: events of each evaluation of the denoiser, with what the sampler does before the next.
    """

    planned: Mapping[str, int]
    peak: dict[str, int] = field(default_factory=dict)
    events: dict[str, Counter[Event]] = field(default_factory=dict)
    steps: list[Counter[Event]] = field(default_factory=list)


def measure(kind: Kind, dtype: torch.dtype = torch.bfloat16) -> Measured:
    """Make one on the fake device, with a step after the first, and the evaluation that ends the sampling."""
    work = kind.work()
    measured = Measured(work.working_bytes(Rig(dtype.itemsize)))
    with fake_cuda() as record, _without_files():
        with record.weights():
            built = kind.build()(Where(DEVICE, DEVICE, dtype, "sdpa"))
        models = Models(
            built.dit,
            built.tokenizer,
            built.branches,
            _TextEncoder(),  # type: ignore[arg-type]
            _WatchedStages(record, measured),  # type: ignore[arg-type]
            Team(),
            Guardrails({}),
            {},
            DEVICE,
            dtype,
        )
        pipeline = kind.pipeline(kind.settings, models)
        with mock.patch.object(Steps, "watched", _watched(record, measured)), seen_once(record):
            frames, _ = pipeline.make_all(kind.sample(), Clock())
    assert frames.dtype == np.uint8
    return measured


@contextmanager
def seen_once(record: Record) -> Iterator[None]:
    """Of blocks that are alike, and of steps of a clip, the first are computed and the others taken for the same."""
    with ExitStack() as stack:
        for block in (minimal_dit_layers.Block, general_dit_layers.Block):
            stack.enter_context(mock.patch.object(block, "forward", _block_once(record, block.forward)))
        for coder in (wan_vae.Encoder, wan_vae.Decoder, cosmos_tokenizer.Encoder, cosmos_tokenizer.Decoder):
            stack.enter_context(mock.patch.object(coder, "forward", _step_once(record, coder.forward)))
        yield


def _block_once(record: Record, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def blocks(block: nn.Module, x: Tensor, emb: Tensor, lora: Tensor, text: Any, *tables: Any) -> Tensor:
        [operator] = [module.operator for module in block.modules() if isinstance(module, ShardableAttention)]
        sparsity = tuple(cell.cell_contents for cell in operator.__closure__)  # type: ignore[union-attr]
        # what a block prepares for others like it is there for the second
        run = partial(forward, block, x, emb, lora, text, *tables)
        return record.repeated((type(block), x.shape, type(text), sparsity), run, num_runs=2)

    return blocks


def _step_once(record: Record, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The steps of a clip are alike from the third on, but for a few keys and values."""

    def steps(coder: nn.Module, x: Tensor, past: Any) -> Tensor:
        past.number = getattr(past, "number", -1) + 1
        return record.repeated((coder, x.shape, min(past.number, 2)), partial(forward, coder, x, past))

    return steps


class _WatchedStages:
    """What `Stages` does for networks that stay on the device, with a look at each."""

    def __init__(self, record: Record, measured: Measured) -> None:
        self._record, self._measured = record, measured

    def run(self, attempt: Callable[[], Any]) -> Any:
        return attempt()

    @contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        self._record.begin()
        yield
        measured = self._measured
        if name == DIT:
            _end_step(self._record, measured)
        measured.peak[name] = max(measured.peak.get(name, 0), self._record.peak)
        measured.events.setdefault(name, Counter()).update(self._record.events)


def _end_step(record: Record, measured: Measured) -> None:
    """The latest step is done: until here its entry holds the events before it."""
    if measured.steps:
        measured.steps[-1] = record.events - measured.steps[-1]


def _watched(record: Record, measured: Measured) -> Callable[..., Any]:
    """A stand-in for `Steps.watched`, where every sampler hands in its denoiser: a look at each evaluation."""

    def watched(_: Steps, denoiser: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def evaluate(x: Tensor, sigma: Tensor) -> Tensor:
            _end_step(record, measured)
            measured.steps.append(Counter(record.events))
            x0 = denoiser(x, sigma)
            assert x0.device == DEVICE and x0.shape == x.shape
            return x0

        return evaluate

    return watched


class _TextEncoder:
    """Embeddings of any text, on the host, where the real ones come from a cache."""

    def encode(self, text: str) -> tuple[Tensor, int]:
        return torch.zeros(1, 512, 1024), 512


@contextmanager
def _without_files() -> Iterator[None]:
    """Networks are built and placed as they are from files, without content."""

    def load(build: Callable[[], Any], *_: Any, dtype: torch.dtype, device: torch.device, **options: Any) -> Any:
        return unfilled(build, dtype, device)

    def dit(_: Any, config: Any, *, dtype: torch.dtype, device: torch.device, **options: Any) -> Any:
        return unfilled(lambda: general_networks.build_dit(config), dtype, device)

    def tokenizer(*_: Any, config: Any, dtype: torch.dtype, device: torch.device) -> CosmosTokenizer:
        return unfilled(lambda: CosmosTokenizer(config), dtype, device)

    statistics = LatentStatistics(torch.zeros(16, 32), torch.ones(16, 32))
    with ExitStack() as stack:
        for module in (predict2_networks, transfer_networks, scene_networks):
            stack.enter_context(mock.patch.object(module, "load_network", load))
        for module in (transfer_generation, scene_generation):
            stack.enter_context(mock.patch.object(module, "take", lambda frames, chunk: frames))  # one chunk is all
        stack.enter_context(mock.patch.object(general_networks, "load_dit", dit))
        stack.enter_context(mock.patch.object(cosmos_tokenizer_files, "load_tokenizer", tokenizer))
        # inference mode makes no fake tensors
        make_latents = ActionPipeline.make_latents.__wrapped__  # type: ignore[attr-defined]
        stack.enter_context(mock.patch.object(ActionPipeline, "make_latents", make_latents))
        stack.enter_context(mock.patch.object(cosmos_tokenizer_files, "read_statistics", lambda *_: statistics))
        yield


def video2world(size: str, *, num_given: int = 1, **options: Any) -> Kind:
    settings = Video2WorldSettings(model_size=size, disable_prompt_refiner=True, **options)
    frames = black(num_given, HEIGHT, WIDTH, 3)
    request = Video2WorldRequest(
        input_path=GivenFrames(frames), prompt="A street.", num_conditional_frames=num_given, num_steps=NUM_STEPS
    )
    return Kind(
        Video2WorldPipeline,
        settings,
        request,
        lambda: video_inputs.work_of(settings, request),
        lambda: video_inputs.with_frames(settings, request, frames),
        lambda: Video2WorldPipeline.build_networks(settings),
    )


def text2image(size: str, **options: Any) -> Kind:
    settings = Text2ImageSettings(model_size=size, **options)
    request = Text2ImageRequest(prompt="A street.", num_steps=NUM_STEPS, save_path=Path("out.png"))
    return Kind(
        Text2ImagePipeline,
        settings,
        request,
        lambda: image_inputs.work_of(settings, request),
        lambda: image_inputs.read(settings, request),
        lambda: Text2ImagePipeline.build_networks(settings),
    )


def text2world_picture() -> Kind:
    """The first of the two models that take turns."""
    sample = divide(
        Text2WorldSettings(model_size="2B", disable_prompt_refiner=True),
        Text2WorldRequest(prompt="A street.", num_steps=NUM_STEPS),
    )
    settings, request = sample.image_settings, sample.image_request
    return Kind(
        Text2ImagePipeline,
        settings,
        request,
        lambda: image_inputs.work_of(settings, request),
        lambda: image_inputs.read(settings, request),
        lambda: Text2ImagePipeline.build_networks(settings),
    )


def text2world_video() -> Kind:
    """The second, which begins with the picture of the first."""
    sample = divide(
        Text2WorldSettings(model_size="2B", disable_prompt_refiner=True),
        Text2WorldRequest(prompt="A street.", num_steps=NUM_STEPS),
    )
    settings, request = sample.video_settings, sample.video_request
    picture = black(1, 768, 1360, 3)
    return Kind(
        Video2WorldPipeline,
        settings,
        request,
        lambda: video_inputs.work_of(settings, request),
        lambda: video_inputs.with_frames(settings, request, picture),
        lambda: Video2WorldPipeline.build_networks(settings),
    )


def multiview() -> Kind:
    settings = ViewsSettings(model_size="2B")
    request = ViewsRequest(
        input_path=GivenFrames(black(7 * 5, HEIGHT, WIDTH, 3)),
        prompt="A street.",
        num_conditional_frames=5,
        num_steps=NUM_STEPS,
    )
    return Kind(
        ViewsPipeline,
        settings,
        request,
        lambda: views_inputs.work_of(settings, request),
        lambda: views_inputs._sample(settings, request, [(black(5, HEIGHT, WIDTH, 3), 0)] * 7),
        lambda: ViewsPipeline.build_networks(settings),
    )


def action() -> Kind:
    settings = ActionSettings(model_size="2B")
    frame = black(1, 480, 640, 3)
    request = ActionRequest(input_video=GivenFrames(frame), input_annotation=Path("a.json"), num_steps=NUM_STEPS)
    actions = np.zeros((1, 12, 7))

    def work() -> Work:
        with mock.patch.object(action_inputs, "read_chunks", lambda _: actions):
            return action_inputs.work_of(settings, request)

    return Kind(
        ActionPipeline,
        settings,
        request,
        work,
        lambda: action_inputs._sample(settings, request, frame, actions),
        lambda: ActionPipeline.build_networks(settings),
    )


def transfer(*controls: str, maps: bool = False, regions: int = 0, sigma_max: float = 70.0, **options: Any) -> Kind:
    """Under these controls, from an input video; `maps` weighs the first by a map."""
    settings = TransferSettings(**options)
    variant = VARIANTS[settings.model_size]
    num_frames = variant.chunk_frames
    clip = GivenFrames(black(num_frames, HEIGHT, WIDTH, 3))
    request = TransferRequest(
        controls={name: {"input_control": clip, "control_weight": 0.5} for name in controls},
        regional_prompts=[
            {"prompt": "A tree.", "region_definitions_path": [0.1 * i, 0, 0.1 * i + 0.5, 1]} for i in range(regions)
        ],
        input_video_path=clip,
        sigma_max=sigma_max,
        num_steps=NUM_STEPS,
    )
    size = HEIGHT, WIDTH
    if request.is_upscaling:
        size = upscaled_size(*size, "16:9", variant.upscale_overlap_px)
    frames = black(num_frames, *size, 3)
    weights: list[Any] = [0.5] * len(controls)
    if maps:
        weights[0] = np.ones((HEIGHT, WIDTH), np.float32)
    grid = HEIGHT // 8, WIDTH // 8

    def of_region(region: RegionalPrompt) -> Region:
        box: Any = region.region_definitions_path
        return Region(region.prompt, np.broadcast_to(box_map(box, grid), (num_frames, *grid)))

    def sample() -> Sample:
        return Sample(
            request,
            frames if request.starts_from_video else None,
            tuple(Control(name, frames, weight, False) for name, weight in zip(controls, weights, strict=True)),
            HEIGHT,
            WIDTH,
            num_frames,
            output_paths(request),
            transfer_inputs.weight_paths(settings, request),
            tuple(of_region(region) for region in request.regional_prompts),
        )

    def build() -> Callable[[Where], Built[Any, Any]]:
        paths = transfer_inputs.weight_paths(settings, request)
        return transfer_build(settings, paths, paths.controls.values())

    return Kind(TransferPipeline, settings, request, lambda: transfer_inputs.work_of(settings, request), sample, build)


def scene(kind: str) -> Kind:
    """All cameras of a car out of the front one; "v2w" is also given the first frames of all."""
    settings = SceneSettings()
    height, width, num_frames = 576, 1024, 57
    clip, first = GivenFrames(black(num_frames, height, width, 3)), GivenFrames(black(6, height, width, 3))
    request = SceneRequest(
        controls={"hdmap": {"input_control": [clip] * 6}},
        view_condition_video=clip,
        initial_condition_video=first if kind == "v2w" else None,
        num_steps=NUM_STEPS,
    )

    def sample() -> SceneSample:
        return SceneSample(
            request,
            CAMERAS,
            clip.frames_FHWC,
            (SceneControl("hdmap", black(6, num_frames, height, width, 3), 0.5),),
            black(6, 1, height, width, 3) if kind == "v2w" else None,
            tuple(clips_of(request, num_frames)),
            scene_paths(request),
            scene_weights(settings, request),
        )

    def build() -> Callable[[Where], Built[Any, Any]]:
        paths = scene_weights(settings, request)
        return scene_networks.networks(settings, paths, paths.controls.values())

    return Kind(ScenePipeline, settings, request, lambda: scene_inputs.work_of(settings, request), sample, build)


def prompted_scene(given: bool, **options: Any) -> Kind:
    """All cameras of a car out of their prompts, or also out of the first frames of all."""
    settings = PromptedSettings(**options)
    height, width = 480, 848
    clip = GivenFrames(black(54, height, width, 3)) if given else None
    request = PromptedRequest(
        prompt="A street.", input_image_or_video_path=clip, num_input_frames=9, num_steps=NUM_STEPS
    )

    def sample() -> PromptedSample:
        frames = black(6, 9, height, width, 3) if given else None
        paths, outputs = prompted_weights(settings, request.kind), prompted_paths(request)
        return PromptedSample(request, CAMERAS, frames, height, width, outputs, paths)

    def build() -> Callable[[Where], Built[Any, Any]]:
        paths, config = prompted_weights(settings, request.kind), network_of(settings, request.kind)
        return general_networks.networks(
            paths, config, PUBLISHED_HELPERS, chunk_frames=MULTIVIEW["7B"].chunk_frames, num_views=6
        )

    return Kind(PromptedPipeline, settings, request, lambda: prompted_inputs.work_of(settings, request), sample, build)


def single_view(size: str, num_given: int = 0) -> Kind:
    """A video of Predict1 out of a prompt, or one that begins with frames."""
    pipeline: type[Pipeline[Any, Any]] = PredictedPipeline if num_given else PromptedVideoPipeline
    kind: Any = PredictedSettings if num_given else PromptedVideoSettings
    settings = kind(model_size=size, disable_prompt_upsampler=True)
    frames = black(num_given, HEIGHT, WIDTH, 3) if num_given else None
    request: Any = PromptedVideoRequest(prompt="A street.", num_steps=NUM_STEPS)
    if frames is not None:
        request = PredictedRequest(
            prompt="A street.",
            input_image_or_video_path=GivenFrames(frames),
            num_input_frames=num_given,
            num_steps=NUM_STEPS,
        )
    model = model_of(settings)

    def build() -> Callable[[Where], Built[Any, Any]]:
        network = model.variant.network(settings.kind)
        return general_networks.networks(
            model.paths, network, PUBLISHED_HELPERS, chunk_frames=model.variant.chunk_frames
        )

    return Kind(
        pipeline,
        settings,
        request,
        lambda: single_inputs.work_of(settings, request),
        lambda: single_inputs.with_frames(settings, request, frames),
        build,
    )


def cosmos1(size: Any, num_given: int = 0) -> Kind:
    """A video of a Cosmos-1.0 model out of a prompt, or one that begins with frames."""
    settings = NemoSettings(model_size=size)
    frames = black(num_given, HEIGHT, WIDTH, 3) if num_given else None
    request = NemoRequest(prompt="A robot.", num_steps=NUM_STEPS)
    if frames is not None:
        given: Any = {"conditioned_image_or_video_path": GivenFrames(frames), "num_input_frames": num_given}
        request = NemoRequest(prompt="A robot.", num_steps=NUM_STEPS, **given)
    model = nemo_model.model_of(settings, request.kind)

    def build() -> Callable[[Where], Built[Any, Any]]:
        return general_networks.networks(
            model.paths, model.network, PUBLISHED_HELPERS, chunk_frames=model.variant.chunk_frames
        )

    return Kind(
        NemoPipeline,
        settings,
        request,
        lambda: nemo_inputs.work_of(settings, request),
        lambda: nemo_inputs.with_frames(settings, request, frames),
        build,
    )


KINDS: Mapping[str, Callable[[], Kind]] = {
    "nemo 7B, text2world": lambda: cosmos1("7B"),
    "nemo 14B, video2world": lambda: cosmos1("14B", num_given=9),
    "predict1 7B, text2world": lambda: single_view("7B"),
    "predict1 14B, video2world": lambda: single_view("14B", num_given=9),
    "predict1 multiview, text2world": lambda: prompted_scene(given=False),
    "predict1 multiview, video2world": lambda: prompted_scene(given=True),
    "video2world 2B": lambda: video2world("2B", num_given=5),
    "video2world 14B": lambda: video2world("14B"),
    "video2world 2B sparse": lambda: video2world("2B", natten=True),
    "text2image 2B": lambda: text2image("2B"),
    "text2image 0.6B distilled": lambda: text2image("0.6B", distill_steps=4),
    "text2world 2B, picture": text2world_picture,
    "text2world 2B, video": text2world_video,
    "multiview 2B": multiview,
    "action 2B": action,
    "transfer, 1 control": lambda: transfer("edge"),
    "transfer, 4 controls": lambda: transfer("vis", "edge", "depth", "seg", maps=True),
    "transfer, upscale": lambda: transfer("upscale"),
    "transfer, 2 regions": lambda: transfer("edge", regions=2),
    "transfer, driving": lambda: transfer("hdmap", is_av_sample=True),
    "transfer, distilled": lambda: transfer("edge", use_distilled=True, sigma_max=80.0),
    "transfer multiview t2w": lambda: scene("t2w"),
    "transfer multiview v2w": lambda: scene("v2w"),
}
