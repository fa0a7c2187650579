"""How pictures enter a chat model: as patches beside the text, and as placeholder tokens in it.

The arithmetic is that of the models' published processors, which cannot be used here because they need torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Protocol

import cv2
import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional as F

from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.media.resize import resize_bicubic
from cosmos_cli.models.chat_messages import Image, Video

# F frames, T groups of frames, H and W pixel height and width, C = 3 colours, N patches, P values in a patch

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Picture = Image | Video


@dataclass(frozen=True)
class Shown:
    """Pictures and clips of a conversation, prepared.

    inputs: tensors by the model's name for them.
    texts: what stands for each picture in the text, in their order: as many placeholders as the model makes tokens.
    """

    inputs: Mapping[str, Tensor]
    texts: Sequence[str]


class Vision(Protocol):
    """What one kind of model does with pictures."""

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The token that stands for a picture in the text, by kind: "image", and "video" where the model has it."""

    def prepare(self, pictures: Sequence[Picture]) -> Shown:
        """Raises InputError if a picture cannot be shown to this model."""


class NoVision:
    """A model that reads text alone, or whose pictures are not known here."""

    placeholders: ClassVar[Mapping[str, str]] = {}

    def prepare(self, pictures: Sequence[Picture]) -> Shown:
        if pictures:
            raise InputError(
                "this chat model is shown no pictures here.", fix="Use a Qwen2.5-VL or a Pixtral model, or a server."
            )
        return Shown({}, [])


@dataclass(frozen=True)
class QwenVision:
    """Qwen2.5-VL: each picture at about its own size and in its own shape, clips as patches of two frames.

    min_pixels, max_pixels: of a picture without limits of its own; those of a clip's frames follow from the clip.
    temporal_patch_size: frames in a patch; the last frame is repeated to fill it, and so is a picture.
    merge_size: patches along each side of what becomes one token.
    Source: transformers, models/qwen2_vl; qwen-vl-utils, vision_process.py, for the size of clips (behaviour).
    """

    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    min_pixels: int = 4 * 28 * 28
    max_pixels: int = 1280 * 28 * 28
    image_mean: Sequence[float] = CLIP_MEAN
    image_std: Sequence[float] = CLIP_STD

    placeholders: ClassVar[Mapping[str, str]] = {"image": "<|image_pad|>", "video": "<|video_pad|>"}

    @classmethod
    def of_folder(cls, folder: Path) -> QwenVision:
        """The settings in a model's `preprocessor_config.json`; the published defaults without one.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = folder / "preprocessor_config.json"
        if not path.is_file():
            return cls()
        settings = read_json(path, kind=CheckpointError, fix="Download it again.")
        try:
            size = settings.get("size") or {}
            pixels = {"min_pixels": size.get("shortest_edge"), "max_pixels": size.get("longest_edge")}
            given = {name: value for name, value in {**pixels, **settings}.items() if value is not None}
            vision = cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})
            if not 0 < vision.min_pixels <= vision.max_pixels or min(vision.unit, vision.temporal_patch_size) < 1:
                raise ValueError("sizes that no picture can have")
            torch.zeros(3).div(torch.tensor(vision.image_std)).sub(torch.tensor(vision.image_mean))
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"does not say how pictures are prepared ({error}).", where=str(path), fix="Download it again."
            ) from error
        return vision

    @property
    def unit(self) -> int:
        """Pixels along each side of what becomes one token."""
        return self.patch_size * self.merge_size

    def prepare(self, pictures: Sequence[Picture]) -> Shown:
        inputs: dict[str, Tensor] = {}
        images = [self._patches(picture) for picture in pictures if isinstance(picture, Image)]
        clips = [picture for picture in pictures if isinstance(picture, Video)]
        videos = [self._patches(clip) for clip in clips]
        if images:
            inputs["pixel_values"] = torch.cat([patches for patches, _ in images])
            inputs["image_grid_thw"] = torch.tensor([grid for _, grid in images])
        if videos:
            inputs["pixel_values_videos"] = torch.cat([patches for patches, _ in videos])
            inputs["video_grid_thw"] = torch.tensor([grid for _, grid in videos])
            inputs["second_per_grid_ts"] = torch.tensor([self.temporal_patch_size / clip.fps for clip in clips])
        grids = {"image": iter(images), "video": iter(videos)}
        texts = []
        for picture in pictures:
            kind = "video" if isinstance(picture, Video) else "image"
            _, grid = next(grids[kind])
            texts.append(self.placeholders[kind] * (math.prod(grid) // self.merge_size**2))
        return Shown(inputs, texts)

    def _patches(self, picture: Picture) -> tuple[Tensor, tuple[int, int, int]]:
        """Patches (N, P) of a picture or clip, and how many there are along time, height and width.

        The patches of one token follow each other; within a patch the order is colour, frame, row, column.
        """
        height, width = self._size(picture)
        if isinstance(picture, Video):
            frames_FHWC = picture.frames_FHWC
        else:
            # the published code resamples pictures with Pillow and clips with torch, a few grey levels apart at edges
            image = PillowImage.fromarray(picture.image_HWC)
            frames_FHWC = np.asarray(image.resize((width, height), PillowImage.Resampling.BICUBIC))[None]
        frames_FCHW = torch.from_numpy(np.array(frames_FHWC)).permute(0, 3, 1, 2)
        if frames_FCHW.shape[2:] != (height, width):
            frames_FCHW = resize_bicubic(frames_FCHW, height, width)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.image_mean, self.image_std))
        frames_FCHW = (frames_FCHW.float() / 255 - mean) / std
        missing = -len(frames_FCHW) % self.temporal_patch_size
        frames_FCHW = torch.cat([frames_FCHW, frames_FCHW[-1:].expand(missing, -1, -1, -1)])
        side, merge, group = self.patch_size, self.merge_size, self.temporal_patch_size
        grid = (len(frames_FCHW) // group, height // side, width // side)
        split = frames_FCHW.reshape(
            grid[0], group, 3, grid[1] // merge, merge, side, grid[2] // merge, merge, side
        )  # T, frame, C, then for height and for width: token, patch in the token, pixel
        return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(math.prod(grid), -1), grid

    def _size(self, picture: Picture) -> tuple[int, int]:
        """Height and width to show a picture or a clip's frames at.

        Whole tokens, the shape nearly kept, the area within its limits.
        """
        if isinstance(picture, Video):
            height, width = picture.frames_FHWC.shape[1:3]
            least, most = picture.frame_limits(self.unit)
        else:
            height, width = picture.image_HWC.shape[:2]
            least = self.min_pixels if picture.min_pixels is None else picture.min_pixels
            most = self.max_pixels if picture.max_pixels is None else picture.max_pixels
        if max(height, width) > 200 * min(height, width):
            raise InputError(f"a picture of {width}x{height} is too narrow for the chat model.", fix="Crop it.")
        rounded = (round(height / self.unit) * self.unit, round(width / self.unit) * self.unit)
        if math.prod(rounded) > most:
            shrink = math.sqrt(height * width / most)
            return tuple(max(self.unit, math.floor(n / shrink / self.unit) * self.unit) for n in (height, width))
        if math.prod(rounded) < least:
            grow = math.sqrt(least / (height * width))
            return tuple(math.ceil(n * grow / self.unit) * self.unit for n in (height, width))
        return rounded


@dataclass(frozen=True)
class PixtralVision:
    """Pixtral: each picture at its own size, up to a longest side; every row of tokens ends in a token of its own.

    Source: mistral-common, tokens/tokenizers/image.py (behaviour).
    """

    patch_size: int = 16
    longest_side: int = 1024

    placeholders: ClassVar[Mapping[str, str]] = {"image": "[IMG]"}

    def prepare(self, pictures: Sequence[Picture]) -> Shown:
        if any(isinstance(picture, Video) for picture in pictures):
            raise InputError("this chat model takes pictures, but no videos.", fix="Give it frames of the video.")
        if not pictures:
            return Shown({}, [])
        pixels = [self._pixels(picture) for picture in pictures if isinstance(picture, Image)]
        sizes = [tuple(image_CHW.shape[1:]) for image_CHW in pixels]
        height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
        padded = [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in pixels]
        texts = []
        for rows, columns in ((h // self.patch_size, w // self.patch_size) for h, w in sizes):
            row = self.placeholders["image"] * columns
            texts.append("[IMG_BREAK]".join([row] * rows) + "[IMG_END]")
        return Shown({"pixel_values": torch.stack(padded), "image_sizes": torch.tensor(sizes)}, texts)

    def _pixels(self, picture: Image) -> Tensor:
        """(C, H, W) float32, normalised, of whole patches. Bicubic on floats: it may overshoot white and black."""
        image_HWC = picture.image_HWC
        height, width = image_HWC.shape[:2]
        area = max(height * width, picture.min_pixels or 0)
        scale = math.sqrt(min(area, picture.max_pixels or area) / (height * width))
        shrink = max(height / self.longest_side, width / self.longest_side, 1 / scale)
        rows, columns = (max(1, math.ceil(round(n / shrink) / self.patch_size)) for n in (height, width))
        size = (columns * self.patch_size, rows * self.patch_size)
        resized_HWC = cv2.resize(image_HWC.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
        normalised = (resized_HWC / 255 - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
        return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()
