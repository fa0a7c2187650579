"""Reading the input and control videos of a request, and making the controls that were not given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from cosmos_cli import output, registry
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import InputError
from cosmos_cli.media.resize import nearest_aspect_ratio, stretch
from cosmos_cli.media.video import Clip, read_video
from cosmos_plugins.transfer1.inputs import Control, Sample, active_controls
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest
from cosmos_plugins.transfer1.variants import Variant

# F frames, H and W pixel height and width, C = 3 colours

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


@dataclass
class _Frame:
    """The output size, set by the first video that is read, and the rate and length it had."""

    variant: Variant
    size: tuple[int, int] | None = None
    fps: float = 0.0

    def fit(self, interpolation: int) -> Callable[[np.ndarray], np.ndarray]:
        def resize(image_HWC: np.ndarray) -> np.ndarray:
            if self.size is None:
                height, width = image_HWC.shape[:2]
                self.size = self.variant.sizes[nearest_aspect_ratio(height, width)]
            return stretch(image_HWC, *self.size, interpolation=interpolation)

        return resize


def read_sample(request: TransferRequest, variant: Variant) -> Sample:
    """The input video and all controls at the model's size and of one length.

    Raises:
        InputError: a video cannot be read, a control does not go with the input, or a weight map is not one.
    """
    frame = _Frame(variant)
    clip: Clip | None = None
    if request.input_video_path is not None:
        clip = read_video(request.input_video_path, frame.fit(cv2.INTER_AREA))
        frame.fps = clip.fps
    given = {name: _read_control(name, control, frame) for name, control in active_controls(request).items()}
    num_frames = _common_length(clip, given)
    assert frame.size is not None
    frames = clip.frames_FHWC[:num_frames] if clip is not None else None
    controls = []
    for name, control in active_controls(request).items():
        video = given[name]
        made = _compute(name, frames, request) if video is None and frames is not None else None
        pixels = made if made is not None else video.frames_FHWC[:num_frames]  # type: ignore[union-attr]
        weight = control.control_weight
        map_or_number = weight if isinstance(weight, float) else _read_weight_map(name, weight)
        controls.append(Control(name, pixels, map_or_number, is_computed=made is not None))
    # 80 and above is noise alone: the model never sees the input video itself
    start = frames if request.starts_from_video else None
    return Sample(request, start, tuple(controls), *frame.size, num_frames)


def _read_control(name: str, control: ControlSpec, frame: _Frame) -> Clip | None:
    if control.input_control is None:
        return None
    interpolation = _INTERPOLATION[registry.current().extensions["controls"][name].details["interpolation"]]
    clip = read_video(control.input_control, frame.fit(interpolation))
    if frame.fps and abs(clip.fps - frame.fps) > 0.01 * frame.fps:
        output.notice(
            f"{name}: the control video runs at {clip.fps:g} frames per second and the input at {frame.fps:g}; "
            "they are matched frame by frame"
        )
    frame.fps = frame.fps or clip.fps
    return clip


def _common_length(clip: Clip | None, given: dict[str, Clip | None]) -> int:
    """Frames of the output: those of the input video, or of the shortest control without one.

    Raises:
        InputError: a control ends before the input video does.
    """
    lengths = {name: len(video.frames_FHWC) for name, video in given.items() if video is not None}
    wanted = len(clip.frames_FHWC) if clip is not None else min(lengths.values())
    for name, length in lengths.items():
        if length < wanted:
            raise InputError(
                f"has {length} frames, fewer than the {wanted} of the input video.",
                where=f"{name}, input_control",
                fix="Give a control video of the input's length, or cut the input.",
            )
        if length > wanted:
            output.notice(f"{name}: the control video has {length} frames; the first {wanted} are used")
    return wanted


def _compute(name: str, frames_FHWC: np.ndarray, request: TransferRequest) -> np.ndarray:
    with output.progress(f"Computing {name}", len(frames_FHWC), unit="frames"):
        made = registry.current().extensions["controls"][name].resolve()(frames_FHWC, request)
    if getattr(made, "shape", None) != frames_FHWC.shape or made.dtype != np.uint8:
        raise InputError(
            f"computed a control video of another form than the input's {frames_FHWC.shape} uint8.", where=name
        )
    return made


def _read_weight_map(name: str, path: Path) -> np.ndarray:
    """A weight map as float32, (H, W) or (F, H, W)."""
    where = f"{name}, control_weight"
    if path.suffix == ".safetensors":
        with open_checkpoint(path) as file:
            tensors = [file.tensor(key) for key in file.keys()]  # noqa: SIM118
        content = tensors[0] if len(tensors) == 1 else None
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(
                f"{path} cannot be read as a tensor: {str(error).splitlines()[0]}",
                where=where,
                fix="Save one tensor with torch.save, or as .safetensors.",
            ) from error
    if not isinstance(content, torch.Tensor) or content.ndim not in (2, 3) or not content.numel():
        shape = tuple(content.shape) if isinstance(content, torch.Tensor) else type(content).__name__
        raise InputError(f"{path} holds {shape}, not one tensor of shape (H, W) or (frames, H, W).", where=where)
    weights = content.float()
    if not weights.isfinite().all():
        raise InputError(f"{path} holds values that are not finite.", where=where)
    return weights.numpy()
