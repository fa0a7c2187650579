"""The network: how a picture changes until the next frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# B batch, C = 3 colours, F frames, H and W pixel height and width; colours are in -1..1

WIDTH = 16


class MirageNetwork(nn.Module):
    """Two convolutions over the last two frames; at first nothing changes."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(6, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, before_BCHW: Tensor, now_BCHW: Tensor) -> Tensor:
        """The next frame, (B, C, H, W), after the frame before and that of now."""
        change_BCHW: Tensor = self.layers(torch.cat([before_BCHW, now_BCHW], dim=1))
        return now_BCHW + change_BCHW


def new_network(seed: int) -> MirageNetwork:
    """A network that has learnt nothing: it repeats the frame."""
    torch.manual_seed(seed)
    network = MirageNetwork()
    for parameter in network.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return network


@torch.no_grad()
def rolled_out(network: nn.Module, picture_BCHW: Tensor, num_frames: int) -> Tensor:
    """A video that begins with the picture, (B, C, F, H, W)."""
    frames = [picture_BCHW, picture_BCHW]  # what was before the picture is not known
    for _ in range(num_frames - 1):
        frames.append(network(frames[-2], frames[-1]).clamp(-1, 1))
    return torch.stack(frames[1:], dim=2)
