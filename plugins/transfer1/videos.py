"""Reading the input and control videos of a request, and making the controls that were not given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch

from cosmos_cli import output, registry
from cosmos_cli.errors import InputError
from cosmos_cli.files.cache import Cache
from cosmos_cli.media.held import HeldFrames
from cosmos_cli.media.resize import nearest_aspect_ratio, stretch
from cosmos_cli.media.source import Source
from cosmos_cli.media.video import Clip, read_video
from cosmos_cli.registered import ControlModality
from cosmos_cli.runtime.devices import choose_device, computing
from cosmos_cli.runtime.extensions import blaming
from cosmos_cli.runtime.workers.agreement import agree
from cosmos_plugins.transfer1.checkpoints import annotator_paths, weight_paths
from cosmos_plugins.transfer1.chunks import shortest_of, spill_of
from cosmos_plugins.transfer1.controls import objects_mask
from cosmos_plugins.transfer1.controls.job import ControlJob
from cosmos_plugins.transfer1.regions import read_region, to_latent_grid
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Control, Region, Sample, output_paths
from cosmos_plugins.transfer1.tiles import upscaled_size
from cosmos_plugins.transfer1.variants import LATENT_PX, VARIANTS, Variant
from cosmos_plugins.transfer1.weight_maps import read_weight_map

# F frames, H and W pixel height and width, C = 3 colours

MAX_SOURCE_PX = 1280
"""Longer side of the frames that annotators see: they shrink them further, and clips of 4K would fill the memory."""

CACHED_CONTROLS_BYTES = 20 * 2**30

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


@dataclass
class _Frame:
    """The output size, set by the first video that is read, and the rate it had."""

    variant: Variant
    size: tuple[int, int] | None = None
    aspect_ratio: str = ""
    fps: float = 0.0

    def fit(self, interpolation: int) -> Callable[[np.ndarray], np.ndarray]:
        def resize(image_HWC: np.ndarray) -> np.ndarray:
            if self.size is None:
                height, width = image_HWC.shape[:2]
                self.aspect_ratio = nearest_aspect_ratio(height, width)
                self.size = self.variant.sizes[self.aspect_ratio]
            return stretch(image_HWC, *self.size, interpolation=interpolation)

        return resize


@dataclass
class _Input:
    """The input video: at the size of generation, and, if annotators need it, in its own proportions."""

    path: Source
    frames_FHWC: np.ndarray = field(default_factory=lambda: np.empty(0))
    source_FHWC: np.ndarray | None = None


def read_sample(settings: TransferSettings, request: TransferRequest) -> Sample:
    """The input video and all controls, computed where they are missing, at the model's size and of one length.

    Args:
        request: one that was checked.
    Raises:
        InputError: a video cannot be read, a control does not go with the input, or a weight map is not one.
    """
    frame = _Frame(VARIANTS[settings.model_size])
    clip = None
    if request.input_video_path is not None:
        clip = _read_input(request.input_video_path, frame, with_source=_needs_source(request))
    given = {name: _read_control(name, control, frame) for name, control in request.active_controls.items()}
    num_frames = _common_length(clip, given)
    if spill := spill_of(num_frames, request.num_input_frames, frame.variant.chunk_frames):
        output.notice(spill)
    if clip is not None:
        clip.frames_FHWC = clip.frames_FHWC[:num_frames]
        clip.source_FHWC = clip.source_FHWC[:num_frames] if clip.source_FHWC is not None else None
    assert frame.size is not None
    device = choose_device(settings.device)
    maker = _Maker(settings, request, clip, frame.size, device)
    with computing(device, settings.shortcuts):
        controls = tuple(
            _control(name, control, given[name], num_frames, maker) for name, control in request.active_controls.items()
        )
        regions = _read_regions(request, num_frames, maker)
    # 80 and above is noise alone: the model never sees the input video itself
    start = clip.frames_FHWC if clip is not None and request.starts_from_video else None
    outputs, paths = output_paths(request), weight_paths(settings, request)
    sample = Sample(request, start, controls, *frame.size, num_frames, outputs, paths, regions)
    return _enlarged(sample, frame) if request.is_upscaling else sample


def _needs_source(request: TransferRequest) -> bool:
    modalities = registry.current().controls
    return any(region.mask_prompt for region in request.regional_prompts) or any(
        control.control_weight_prompt or (control.input_control is None and modalities[name].source_frames)
        for name, control in request.active_controls.items()
    )


def _read_input(path: Source, frame: _Frame, *, with_source: bool) -> _Input:
    fit = frame.fit(cv2.INTER_AREA)
    source = HeldFrames(path) if with_source else None

    def each(image_HWC: np.ndarray) -> np.ndarray:
        if source is not None:
            source.add(_shrunk(image_HWC))
        return fit(image_HWC)

    clip = read_video(path, each)
    frame.fps = clip.fps
    return _Input(path, clip.frames_FHWC, None if source is None else source.array())


def _shrunk(image_HWC: np.ndarray) -> np.ndarray:
    height, width = image_HWC.shape[:2]
    factor = min(1.0, MAX_SOURCE_PX / max(height, width))
    return stretch(image_HWC, round(height * factor), round(width * factor), interpolation=cv2.INTER_AREA)


def _control(name: str, control: ControlSpec, given: Clip | None, num_frames: int, maker: _Maker) -> Control:
    frames_FHWC = given.frames_FHWC[:num_frames] if given is not None else maker.compute(name, control)
    weight = control.control_weight
    map_or_number = weight if isinstance(weight, float) else read_weight_map(weight, where=f"{name}, control_weight")
    if control.control_weight_prompt is not None:
        assert isinstance(weight, float)
        mask_FHW = maker.find(name, control, control.control_weight_prompt)
        # half precision holds it exactly enough for bfloat16, and a long clip in memory
        map_or_number = mask_FHW.astype(np.float16) * np.float16(weight)
    return Control(
        name,
        frames_FHWC,
        map_or_number,
        is_computed=given is None,
        is_confined=control.control_weight_prompt is not None,
    )


def _read_regions(request: TransferRequest, num_frames: int, maker: _Maker) -> tuple[Region, ...]:
    height, width = maker.size
    grid = (height // LATENT_PX, width // LATENT_PX)
    regions = []
    for number, region in enumerate(request.regional_prompts, start=1):
        where = f"regional_prompts {number}"
        if region.mask_prompt is not None:
            mask_FHW = maker.find(where, ControlSpec(), region.mask_prompt, best_only=True)
            regions.append(Region(region.prompt, to_latent_grid(mask_FHW, grid)))
        else:
            assert region.region_definitions_path is not None
            regions.append(
                Region(region.prompt, read_region(region.region_definitions_path, num_frames, grid, where=where))
            )
    return tuple(regions)


def _enlarged(sample: Sample, frame: _Frame) -> Sample:
    """The sample with its videos enlarged to the canvas that the tiles cover."""
    size = upscaled_size(sample.height, sample.width, frame.aspect_ratio, frame.variant.upscale_overlap_px)

    def enlarge(frames_FHWC: np.ndarray) -> np.ndarray:
        return np.stack([stretch(image, *size, interpolation=cv2.INTER_LINEAR) for image in frames_FHWC])

    [control] = sample.controls
    frames = enlarge(control.frames_FHWC)
    # mostly the control is the input video itself: keep it once
    start = sample.frames_FHWC
    if start is not None:
        start = frames if start is control.frames_FHWC else enlarge(start)
    return replace(sample, frames_FHWC=start, controls=(replace(control, frames_FHWC=frames),))


@dataclass(frozen=True)
class _Maker:
    """Computes what a request does not give, out of its input video."""

    settings: TransferSettings
    request: TransferRequest
    clip: _Input | None
    size: tuple[int, int]
    device: torch.device
    digests: dict[int, str] = field(default_factory=dict)

    def compute(self, name: str, control: ControlSpec) -> np.ndarray:
        """A control video, (F, height, width, 3) uint8."""
        modality = registry.current().controls[name]
        frames_FHWC = self._frames(source=modality.source_frames)
        with output.progress(f"Computing {name}", len(frames_FHWC), unit="frames") as stage:
            job = self._job(control, frames_FHWC, stage, kept=f"{name}: from the cache")
            made = agree(lambda: _computed(name, modality, frames_FHWC, job), f"computing {name}")
        if made is None:
            made = frames_FHWC
        if made.shape[1:3] == self.size:
            return made
        interpolation = _INTERPOLATION[modality.interpolation]
        return np.stack([stretch(image, *self.size, interpolation=interpolation) for image in made])

    def find(self, name: str, control: ControlSpec, prompt: str, *, best_only: bool = False) -> np.ndarray:
        """Where the objects of a prompt are, (F, h, w) bool at the size that annotators see."""
        frames_FHWC = self._frames(source=True)
        with output.progress(f"Finding objects for {name}", len(frames_FHWC), unit="frames") as stage:
            job = self._job(control, frames_FHWC, stage, kept=f"objects for {name}: from the cache")
            return agree(
                lambda: objects_mask(frames_FHWC, prompt, job, best_only=best_only), f"finding objects for {name}"
            )

    def _frames(self, *, source: bool) -> np.ndarray:
        assert self.clip is not None
        frames_FHWC = self.clip.source_FHWC if source else self.clip.frames_FHWC
        assert frames_FHWC is not None
        return frames_FHWC

    def _job(
        self, control: ControlSpec, frames_FHWC: np.ndarray, stage: output.StageProgress, *, kept: str
    ) -> ControlJob:
        assert self.clip is not None

        def take_kept() -> None:
            stage.closing = kept

        return ControlJob(
            request=self.request,
            control=control,
            device=str(self.device),
            models=annotator_paths(self.settings),
            checkpoint_dir=self.settings.checkpoint_dir,
            source=self._digest(frames_FHWC),
            cache=Cache(self.settings.cache_folder, "controls", limit_bytes=CACHED_CONTROLS_BYTES),
            advance=stage,
            take_kept=take_kept,
        )

    def _digest(self, frames_FHWC: np.ndarray) -> str:
        """Of the pixels, which are what a control depends on: the file may have changed since it was read."""
        key = id(frames_FHWC)
        if key not in self.digests:
            digest = hashlib.sha256(str(frames_FHWC.shape).encode())
            for image_HWC in frames_FHWC:
                digest.update(np.ascontiguousarray(image_HWC).data)
            self.digests[key] = digest.hexdigest()
        return self.digests[key]


def _computed(name: str, modality: ControlModality, frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray | None:
    """A control video, as large as the frames; None if it is these very frames, which need not be there twice."""
    # one of another package may work in place, and the frames are needed as they are
    compute = modality.resolve()
    with blaming(f"control '{name}' of plugin {modality.plugin}"):
        made = compute(frames_FHWC.copy(), job)
    if getattr(made, "shape", None) != frames_FHWC.shape or made.dtype != np.uint8:
        raise InputError(
            f"computed a control video of another form than the input's {frames_FHWC.shape} uint8.", where=name
        )
    return None if np.array_equal(made, frames_FHWC) else made


def _read_control(name: str, control: ControlSpec, frame: _Frame) -> Clip | None:
    if control.input_control is None:
        return None
    interpolation = _INTERPOLATION[registry.current().controls[name].interpolation]
    clip = read_video(control.input_control, frame.fit(interpolation))
    if frame.fps and abs(clip.fps - frame.fps) > 0.01 * frame.fps:
        output.notice(
            f"{name}: the control video runs at {clip.fps:g} frames per second and the input at {frame.fps:g}; "
            "they are matched frame by frame"
        )
    frame.fps = frame.fps or clip.fps
    return clip


def _common_length(clip: _Input | None, given: dict[str, Clip | None]) -> int:
    """Frames of the output: those of the shortest of the input and the controls that are given, as in the original."""
    lengths = {"input": len(clip.frames_FHWC)} if clip is not None else {}
    lengths |= {name: len(video.frames_FHWC) for name, video in given.items() if video is not None}
    num_frames, cut = shortest_of(lengths)
    if cut is not None:
        output.notice(cut)
    return num_frames


def map_frames_of(control: Control, height: int, width: int) -> np.ndarray:
    """A control's weight map as grey frames of this size, white for 1, (F, height, width, 3) uint8."""
    assert isinstance(control.weight, np.ndarray)
    maps_FHW = control.weight if control.weight.ndim == 3 else control.weight[None]
    frames = []
    for map_HW in maps_FHW:
        grey_HW = (map_HW.clip(0, 1) * 255).astype(np.uint8)
        frames.append(stretch(grey_HW, height, width, interpolation=cv2.INTER_NEAREST)[..., None].repeat(3, axis=-1))
    return np.stack(frames)
