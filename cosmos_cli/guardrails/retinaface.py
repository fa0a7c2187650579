"""RetinaFace on ResNet-50: where faces are in a picture. Parameter names are those of the published file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosmos_cli.guardrails.batch_norm import BatchNorm

# B pictures, C channels, H and W height and width, P priors

STRIDES = (8, 16, 32)
"""Pixels between the centres of neighbouring priors, by level."""

PRIOR_SIZES_PX = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)
"""The network's unit of a prior's place and of the logarithm of its size."""

BLOCKS = (3, 4, 6, 3)
FEATURES = 256


class RetinaFace(nn.Module):
    """Boxes and scores of faces. The published network also finds eyes, nose and mouth, which nobody asks for here.

    Source: Deng et al. 2019, arXiv:1905.00641; biubug6/Pytorch_Retinaface (behaviour).
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = ResNet50()
        self.fpn = FeaturePyramid((512, 1024, 2048), FEATURES)
        self.ssh1, self.ssh2, self.ssh3 = (ContextModule(FEATURES) for _ in STRIDES)
        self.ClassHead = nn.ModuleList(Head(FEATURES, len(sizes), 2) for sizes in PRIOR_SIZES_PX)
        self.BboxHead = nn.ModuleList(Head(FEATURES, len(sizes), 4) for sizes in PRIOR_SIZES_PX)

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, P, 4) of the boxes from the priors, for `decode`, and the probability (B, P) of a face.

        Args:
            pixels_BCHW: blue, green, red from 0 to 255, less `MEAN_BGR`.
        """
        levels = self.fpn(self.body(pixels_BCHW))
        features = [ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        offsets_BP4 = torch.cat([head(x) for head, x in zip(self.BboxHead, features, strict=True)], dim=1)
        logits_BP2 = torch.cat([head(x) for head, x in zip(self.ClassHead, features, strict=True)], dim=1)
        return offsets_BP4, logits_BP2.softmax(dim=-1)[..., 1]


MEAN_BGR = (104.0, 117.0, 123.0)


class ResNet50(nn.Module):
    """The last three of the four stages of ResNet-50, with the stride in the 3x3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm(64)
        self.layer1 = _stage(64, 64, BLOCKS[0], stride=1)
        self.layer2 = _stage(256, 128, BLOCKS[1], stride=2)
        self.layer3 = _stage(512, 256, BLOCKS[2], stride=2)
        self.layer4 = _stage(1024, 512, BLOCKS[3], stride=2)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Features of 512, 1024 and 2048 channels, 8, 16 and 32 times smaller."""
        x_BCHW = functional.relu(self.bn1(self.conv1(x_BCHW)))
        x_BCHW = self.layer1(functional.max_pool2d(x_BCHW, 3, stride=2, padding=1))
        levels = []
        for stage in (self.layer2, self.layer3, self.layer4):
            x_BCHW = stage(x_BCHW)
            levels.append(x_BCHW)
        return levels


class Bottleneck(nn.Module):
    """A residual block; its output has four times as many channels as it is wide inside."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = BatchNorm(4 * width)
        self.downsample = nn.Sequential()
        if in_channels != 4 * width:
            self.downsample.append(nn.Conv2d(in_channels, 4 * width, 1, stride=stride, bias=False))
            self.downsample.append(BatchNorm(4 * width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = functional.relu(self.bn1(self.conv1(x_BCHW)))
        y_BCHW = functional.relu(self.bn2(self.conv2(y_BCHW)))
        return functional.relu(self.bn3(self.conv3(y_BCHW)) + self.downsample(x_BCHW))


class FeaturePyramid(nn.Module):
    """Brings the levels to the same number of channels and adds the coarse ones to the fine ones."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_convolution(width, channels, size=1) for width in in_channels)
        self.merge1 = _convolution(channels, channels)
        self.merge2 = _convolution(channels, channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (
            output(level) for output, level in zip((self.output1, self.output2, self.output3), levels, strict=True)
        )
        middle = self.merge2(middle + functional.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merge1(fine + functional.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return [fine, middle, coarse]


class ContextModule(nn.Module):
    """Looks at surroundings of 3x3, 5x5 and 7x7, the larger ones by several convolutions (SSH, arXiv:1708.03979)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3X3 = _convolution(channels, channels // 2, relu=False)
        self.conv5X5_1 = _convolution(channels, channels // 4)
        self.conv5X5_2 = _convolution(channels // 4, channels // 4, relu=False)
        self.conv7X7_2 = _convolution(channels // 4, channels // 4)
        self.conv7x7_3 = _convolution(channels // 4, channels // 4, relu=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        wide_BCHW = self.conv5X5_1(x_BCHW)
        widest_BCHW = self.conv7x7_3(self.conv7X7_2(wide_BCHW))
        return functional.relu(torch.cat([self.conv3X3(x_BCHW), self.conv5X5_2(wide_BCHW), widest_BCHW], dim=1))


class Head(nn.Module):
    """Some values for each prior at each place, as (B, P, values)."""

    def __init__(self, channels: int, num_priors: int, num_values: int) -> None:
        super().__init__()
        self._num_values = num_values
        self.conv1x1 = nn.Conv2d(channels, num_priors * num_values, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv1x1(x_BCHW).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self._num_values))


def priors(height: int, width: int) -> Tensor:
    """Boxes that the network's offsets start from: (P, 4), centre x and y, width and height, as shares of the frame.

    Ordered by level, then row, column and size.
    """
    boxes = [
        ((x + 0.5) * stride / width, (y + 0.5) * stride / height, size / width, size / height)
        for stride, sizes in zip(STRIDES, PRIOR_SIZES_PX, strict=True)
        for y, x, size in product(range(ceil(height / stride)), range(ceil(width / stride)), sizes)
    ]
    return torch.tensor(boxes)


def decode(offsets_BP4: Tensor, priors_P4: Tensor) -> Tensor:
    """Boxes as left, top, right, bottom, (B, P, 4) in shares of the frame, which they may leave."""
    centres = priors_P4[:, :2] + offsets_BP4[..., :2] * VARIANCES[0] * priors_P4[:, 2:]
    sizes = priors_P4[:, 2:] * torch.exp(offsets_BP4[..., 2:] * VARIANCES[1])
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def suppress(boxes_N4: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes that stay when each removes those that overlap it too much and come after it.

    Args:
        boxes_N4: left, top, right, bottom in pixels, both ends included, the best first.
        threshold: the largest overlap (intersection over union) that two boxes may have.
    """
    left, top, right, bottom = boxes_N4.T
    areas = (right - left + 1) * (bottom - top + 1)
    candidates, kept = np.arange(len(boxes_N4)), []
    while len(candidates):
        best, candidates = candidates[0], candidates[1:]
        kept.append(best)
        widths = np.minimum(right[best], right[candidates]) - np.maximum(left[best], left[candidates]) + 1
        heights = np.minimum(bottom[best], bottom[candidates]) - np.maximum(top[best], top[candidates]) + 1
        shared = widths.clip(min=0) * heights.clip(min=0)
        candidates = candidates[shared / (areas[best] + areas[candidates] - shared) <= threshold]
    return np.array(kept, dtype=int)


def _stage(in_channels: int, width: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, stride=1) for _ in range(num_blocks - 1)))


def _convolution(in_channels: int, out_channels: int, *, size: int = 3, relu: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, BatchNorm(out_channels), *([nn.ReLU()] if relu else []))
