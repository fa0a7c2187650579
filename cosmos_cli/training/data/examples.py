"""One clip as training reads it, and several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# B batch, F pixel frames of all views, one view after the other; H and W height and width; L text positions of all
# views; C channels of a text embedding


@dataclass(frozen=True)
class Example:
    """One clip, with all that is known of it.

    name: what messages call it.
    frames_FHWC: uint8 RGB.
    text_LC: embedding, zeros behind the text, as many positions per view as the recipe says.
    fps: of the clip.
    padding_mask_HW: 1 on padded pixels; None is none.
    hints_FHWC: control videos by name, as large as the clip, uint8 RGB.
    extras: what else the family's task reads, such as actions, without a batch axis.
    """

    name: str
    frames_FHWC: Tensor
    text_LC: Tensor
    fps: float
    padding_mask_HW: Tensor | None = None
    hints_FHWC: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """Several clips of one size, one rate and one length, each tensor with a batch axis in front; see `Example`."""

    names: tuple[str, ...]
    frames_BFHWC: Tensor
    text_BLC: Tensor
    fps: float
    padding_mask_BHW: Tensor | None = None
    hints_BFHWC: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def collate(examples: Sequence[Example]) -> Examples:
    """Raises ValueError: the clips differ in size, length, rate or in what goes along."""
    first = examples[0]
    if any(example.fps != first.fps for example in examples):
        rates = sorted({example.fps for example in examples})
        raise ValueError(f"clips of {rates} frames per second in one batch: the network counts time for all alike")

    def stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
        given = [tensor for tensor in tensors if tensor is not None]
        if given and (len(given) < len(tensors) or len({tensor.shape for tensor in given}) > 1):
            raise ValueError(f"clips that do not fit into one batch: {', '.join(e.name for e in examples)}")
        return torch.stack(given) if given else None

    def together(of: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        names = set().union(*of)
        found = {name: stacked([each.get(name) for each in of]) for name in sorted(names)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    frames, text = stacked([e.frames_FHWC for e in examples]), stacked([e.text_LC for e in examples])
    assert frames is not None
    assert text is not None
    return Examples(
        tuple(example.name for example in examples),
        frames,
        text,
        first.fps,
        stacked([example.padding_mask_HW for example in examples]),
        together([example.hints_FHWC for example in examples]),
        together([example.extras for example in examples]),
    )
