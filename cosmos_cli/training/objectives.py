"""The losses: clean latents are corrupted as the draws say, a network predicts them, and the error is weighed.

The network is called once, through a closure of the family's task, so that this knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.readers import Checkpoint, open_checkpoint
from cosmos_cli.diffusion import edm, rectified_flow
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.recipe import LossRecipe
from cosmos_cli.training.task import Loss

# B batch, C latent channels, T latent frames of all views, H and W latent height and width

Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(scaled latents BCTHW, noise levels B or BT, mask of given frames B1T11 or None) -> raw output BCTHW."""


def given_mask(draws: Draws, shape_BCTHW: torch.Size, num_views: int = 1) -> Tensor | None:
    """1 on the given latent frames at the start of every view, (B, 1, T, 1, 1); None if the network is given none."""
    if draws.num_given_B is None:
        return None
    num_frames = shape_BCTHW[2] // num_views
    frames_T = torch.arange(num_frames, device=draws.num_given_B.device)
    mask_BT = (frames_T < draws.num_given_B[:, None]).float().repeat(1, num_views)
    return mask_BT[:, None, :, None, None]


def keep_text(text_BLC: Tensor, draws: Draws) -> Tensor:
    """The text, zeroed where it is dropped."""
    return text_BLC * draws.text_keep_B.to(text_BLC)[:, None, None]


def edm_loss(
    predict: Predict,
    x0_BCTHW: Tensor,
    draws: Draws,
    recipe: LossRecipe,
    *,
    num_views: int = 1,
    log_variance: nn.Module | None = None,
) -> Loss:
    """The loss of networks trained on variance-exploding noise.

    Given frames enter with a little noise of their own; where they do not count, their prediction is what is given, and
    they stay in the mean as zeros. The network's mask marks them, even those that the recipe frees.

    Args:
        log_variance: how uncertain a noise level is, of c_noise (B,): (B, 1).
    Source: cosmos-predict1 4ed35fa, diffusion/training/models/{model_image,extend_model,extend_model_multiview}.py
        (behaviour); NeMo, branch vfm, diffusion/sampler/cosmos (behaviour); Karras et al. 2022, arXiv:2206.00364.
    """
    dtype, error_dtype = getattr(torch, recipe.dtype), getattr(torch, recipe.error_dtype or recipe.dtype)
    x0 = x0_BCTHW.to(dtype)
    sigma_B = draws.sigma_B.to(dtype)
    sigma = _per_clip(sigma_B)
    x = x0 + sigma * draws.noise_BCTHW.to(dtype)
    mask = given_mask(draws, x0.shape, num_views)
    mask = mask if mask is None else mask.to(dtype)
    given = None if mask is None else Conditioning(x0, mask)
    if given is not None:
        if draws.augment_sigma_B is None or draws.augment_noise_BCTHW is None:
            x = given.mask_B1T11 * x0 / edm.scaling(sigma).c_in + (1 - given.mask_B1T11) * x
        else:
            augment = _per_clip(draws.augment_sigma_B.to(dtype))
            given = edm.free_below(given, sigma, augment) if recipe.frees_noisier else given
            x = edm.add_conditioning(x, sigma, given, draws.augment_noise_BCTHW.to(dtype), augment)
    c_noise_B = edm.scaling(sigma_B).c_noise
    output = predict(edm.scaling(sigma).c_in * x, c_noise_B, mask)
    x0_pred = edm.precondition_output(x, output.to(error_dtype), sigma)
    if given is not None and not recipe.covers_given:
        x0_pred = given.mask_B1T11 * x0 + (1 - given.mask_B1T11) * x0_pred
    square = (x0 - x0_pred) ** 2
    weighed = edm.loss_weight(sigma) * square
    per_element = weighed
    if log_variance is not None:
        u = _per_clip(log_variance(c_noise_B).flatten())
        per_element = weighed * (-u).exp() + u
    return _loss(per_element, weighed, square, x0_pred, recipe)


def rectified_flow_loss(
    predict: Predict, x0_BCTHW: Tensor, draws: Draws, recipe: LossRecipe, *, num_views: int = 1
) -> Loss:
    """The loss of networks that predict velocity; all of it float32, the network's input aside.

    Given frames enter clean, at a noise level next to nothing, and count as zeros.

    Args:
        predict: gets a noise level per latent frame, (B, T).
    Source: cosmos-predict2 661da47, models/video2world_model.py (behaviour).
    """
    x0 = x0_BCTHW.float()
    sigma = _per_clip(draws.sigma_B)
    c = rectified_flow.scaling(sigma)
    x = x0 + sigma * draws.noise_BCTHW
    mask = given_mask(draws, x0.shape, num_views)
    B, _, T, _, _ = x0.shape
    levels_BT = c.c_noise.view(B, 1).expand(B, T)
    scaled = c.c_in * x
    if mask is not None:
        clean = rectified_flow.scaling(torch.full_like(sigma, rectified_flow.SIGMA_CONDITIONAL)).c_noise.view(B, 1)
        levels_BT = mask[:, 0, :, 0, 0] * clean + (1 - mask[:, 0, :, 0, 0]) * levels_BT
        scaled = mask * x0 + (1 - mask) * scaled
    x0_pred = c.c_skip * x + c.c_out * predict(scaled, levels_BT, mask).float()
    if mask is not None and not recipe.covers_given:
        x0_pred = mask * x0 + (1 - mask) * x0_pred
    square = (x0 - x0_pred) ** 2
    weighed = rectified_flow.uniform_loss_weight(sigma) * square
    return _loss(weighed, weighed, square, x0_pred, recipe)


class LogVariance(nn.Module):
    """How uncertain each noise level is: random Fourier features of c_noise, and a learnt line through them.

    Source: cosmos-predict1 4ed35fa, diffusion/module/blocks.py (behaviour).
    """

    def __init__(self, num_features: int = 128) -> None:
        super().__init__()
        self.register_module("0", _FourierFeatures(num_features))
        self.register_module("1", nn.Linear(num_features, 1, bias=False))

    def forward(self, c_noise_B: Tensor) -> Tensor:
        features, line = self.get_submodule("0"), self.get_submodule("1")
        out_B1: Tensor = line(features(c_noise_B))
        return out_B1


class _FourierFeatures(nn.Module):
    freqs: Tensor
    phases: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * torch.pi * torch.randn(num_features))
        self.register_buffer("phases", 2 * torch.pi * torch.rand(num_features))

    def forward(self, x_B: Tensor) -> Tensor:
        angles = torch.outer(x_B.float(), self.freqs.float()) + self.phases.float()
        return (2**0.5 * angles.cos()).to(x_B.dtype)


def _per_clip(values_B: Tensor) -> Tensor:
    return values_B[:, None, None, None, None]


def _loss(per_element: Tensor, weighed: Tensor, square: Tensor, x0_pred: Tensor, recipe: LossRecipe) -> Loss:
    per_clip_B = per_element.expand_as(square).flatten(1)
    total = per_clip_B.mean() if recipe.reduce == "mean" else per_clip_B.sum(1).mean()
    parts = {"edm_loss": weighed.detach().float().mean(), "mse_loss": square.detach().float().mean()}
    return Loss(total.float() * recipe.scale, parts, x0_pred.detach())


def load_log_variance(path: Path | None, wrappers: Sequence[str]) -> LogVariance:
    """The uncertainty head that lies beside a network in a file, or a new one where none does."""
    if path is None:
        return LogVariance()
    with open_checkpoint(path, wrappers) as checkpoint:
        return log_variance_in(checkpoint)


def log_variance_in(checkpoint: Checkpoint) -> LogVariance:
    """The same, of an open checkpoint."""
    head = LogVariance()
    keys = {name: f"logvar.{name}" for name in head.state_dict()}
    if all(key in checkpoint for key in keys.values()):
        head.load_state_dict({name: checkpoint.tensor(key).float() for name, key in keys.items()})
    return head
