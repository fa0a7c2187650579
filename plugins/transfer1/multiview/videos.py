"""Reading the front video, the control videos and the first frames of every view of a request."""

from __future__ import annotations

import cv2
import numpy as np

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.generation.cameras import Camera
from cosmos_cli.media.resize import stretch
from cosmos_cli.media.source import GivenFrames, Source
from cosmos_cli.media.video import read_video
from cosmos_plugins.transfer1.multiview.cameras import cameras_of
from cosmos_plugins.transfer1.multiview.clips import clips_of
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.samples import (
    Control,
    Sample,
    control_place,
    initial_videos,
    output_paths,
    too_short,
    weight_paths,
)
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, MULTIVIEW_VARIANTS, MultiviewVariant

# V views, F frames, H and W pixel height and width, C = 3 colours


def read_sample(settings: MultiviewSettings, request: MultiviewRequest) -> Sample:
    """All videos of a request at the model's size, cut to the length of the clips that they are good for.

    Raises:
        InputError: a video cannot be read, or is too short.
    """
    variant, cameras = MULTIVIEW_VARIANTS[settings.model_size], cameras_of(settings.waymo_example)
    front = _read(request.view_condition_video, variant)
    clips = clips_of(request, len(front))
    num_frames = clips[-1].stop
    if num_frames < len(front):
        output.notice(
            f"{num_frames} of the front video's {len(front)} frames are used, in {len(clips)} clip(s) of {CLIP_FRAMES}"
        )
    controls = _read_controls(request, cameras, variant, num_frames)
    initial = None
    if request.initial_condition_video is not None:
        initial = _read_initial(request.initial_condition_video, cameras, variant, request.num_input_frames)
    outputs, paths = output_paths(request), weight_paths(settings, request)
    return Sample(request, cameras, front[:num_frames], controls, initial, tuple(clips), outputs, paths)


def _read(path: Source, variant: MultiviewVariant) -> np.ndarray:
    def fit(image_HWC: np.ndarray) -> np.ndarray:
        return stretch(image_HWC, variant.height, variant.width, interpolation=cv2.INTER_LINEAR)

    return read_video(path, fit).frames_FHWC


def _read_controls(
    request: MultiviewRequest, cameras: tuple[Camera, ...], variant: MultiviewVariant, num_frames: int
) -> tuple[Control, ...]:
    problems: list[Problem] = []
    controls = []
    for name, control in request.active_controls.items():
        views = []
        for camera, path in zip(cameras, control.input_control, strict=True):
            frames_FHWC = _read(path, variant)
            if len(frames_FHWC) < num_frames:
                problems.append(too_short(len(frames_FHWC), num_frames, control_place(name, camera)))
            views.append(frames_FHWC[:num_frames].copy())  # lets go of the frames that are not used
        if not problems:
            controls.append(Control(name, np.stack(views), control.control_weight))
    if problems:
        raise InputError.from_problems(problems)
    return tuple(controls)


def _read_initial(path: Source, cameras: tuple[Camera, ...], variant: MultiviewVariant, num_frames: int) -> np.ndarray:
    """The first `num_frames` of every view, (V, F, H, W, 3); a folder may lack those of the front camera."""
    where = "--initial-condition-video"
    if isinstance(path, GivenFrames) or not path.is_dir():
        frames_FHWC = _read(path, variant)
        if len(frames_FHWC) % len(cameras):
            raise InputError(
                f"{path} has {len(frames_FHWC)} frames, which do not divide among {len(cameras)} cameras.",
                where=where,
                fix="Give one video with equally long views one after the other, or a folder.",
            )
        views = dict(zip(cameras, np.split(frames_FHWC, len(cameras)), strict=True))
    else:
        views = {camera: _read(file, variant) for camera, file in initial_videos(path, cameras) if file.is_file()}
    short = [
        Problem(
            f"has {len(frames)} frames, but --num-input-frames {num_frames} needs as many.",
            f"{where}, {camera.name} camera",
            "Give longer views.",
        )
        for camera, frames in views.items()
        if len(frames) < num_frames
    ]
    if short:
        raise InputError.from_problems(short)
    black = np.zeros((num_frames, variant.height, variant.width, 3), np.uint8)
    return np.stack([views[camera][:num_frames] if camera in views else black for camera in cameras])
