"""What Transfer1 gives to be trained: a control branch, on a base that stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from cosmos_cli.checkpoints.catalogue import VIDEO_TOKENIZER, folder_named
from cosmos_cli.diffusion.edm import SIGMA_DATA, predict_x0
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.frames import to_frames_truncated, to_video
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.configs import ControlBranchConfig
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.objectives import edm_loss, keep_text, load_log_variance
from cosmos_cli.training.recipe import LossRecipe, Recipe, of_size
from cosmos_cli.training.task import Batch, Loss, Where, learning
from cosmos_plugins.transfer1.formats import BASE
from cosmos_plugins.transfer1.networks import load_base, load_branch
from cosmos_plugins.transfer1.recipes import ControlRecipe
from cosmos_plugins.transfer1.variants import VARIANTS

# B batch, C latent channels, T latent frames, H and W latent height and width; F pixel frames

_SIGMA_MIN, _SIGMA_MAX = 0.002, 80.0
_SAMPLE_GUIDANCE = 5.0
_ZEROED = ("zero_blocks.", "input_hint_block.14.")
"""What a new branch has zeros in, so that it changes nothing at first; other layers of the hint lose their bias."""

_STRAIGHT_AT = 2.0
"""Where SiLU has a slope of about 1 and little curvature."""
_LOUDNESS = 16.0
"""Makes the hint as large as what the first block gives, to which it is added."""


class ControlTask:
    """A control branch that learns and its base; see `cosmos_cli.training.task.Task`.

    Args:
        branch: all of it learns; its output head is never used and stays, as in the originals.
        base: frozen. log_variance: the base's own uncertainty head, which weighs the loss and stays, too.
        tokenizer: None where latents come from elsewhere.
        hint: name of the control video that goes along with the clips.
    """

    def __init__(
        self,
        loss: LossRecipe,
        branch: ControlBranch,
        base: GeneralDiT,
        log_variance: nn.Module | None,
        tokenizer: ChunkedTokenizer | None = None,
        *,
        hint: str = "hint",
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),
    ) -> None:
        self._loss, self._log_variance, self.tokenizer, self._hint = loss, log_variance, tokenizer, hint
        self._dtype, self._device = dtype, device
        self.networks = nn.ModuleDict({"net": learning(branch)})
        self.frozen: Sequence[nn.Module] = (base.requires_grad_(False),)
        if log_variance is not None:
            log_variance.requires_grad_(False)
        self.constants: Mapping[str, Tensor] = {
            f"net.{name}": torch.arange(*shape) for name, shape in stored_constants(branch.config).items()
        }
        self._has_mask = base.config.condition_mask

    def encode(self, examples: Examples) -> Batch:
        """See `cosmos_cli.training.task.Task`."""
        padding = examples.padding_mask_BHW
        return Batch(
            self._latents(examples.frames_BFHWC),
            examples.text_BLC.to(self._device, self._dtype),
            examples.fps,
            None if padding is None else padding[:, None].to(self._device, self._dtype),
            {self._hint: self._latents(examples.hints_BFHWC[self._hint])},
        )

    def _latents(self, frames_BFHWC: Tensor) -> Tensor:
        assert self.tokenizer is not None
        clips = [to_video(frames.numpy(), self._device, self._dtype) for frames in frames_BFHWC]
        return torch.cat([self.tokenizer.encode(clip) for clip in clips]).float()

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """See `cosmos_cli.training.task.Task`."""
        text_BLC = keep_text(batch.text_BLC, draws).to(self._dtype)

        def predict(x_BCTHW: Tensor, c_noise_B: Tensor, mask_B1T11: Tensor | None) -> Tensor:
            return self._controlled(batch, text_BLC, x_BCTHW, c_noise_B, mask_B1T11)

        return edm_loss(predict, batch.latents_BCTHW, draws, self._loss, log_variance=self._log_variance)

    def _controlled(
        self, batch: Batch, text_BLC: Tensor, x_BCTHW: Tensor, c_noise_B: Tensor, mask_B1T11: Tensor | None
    ) -> Tensor:
        """The base's raw output under the branch; both are called through their `forward`."""
        given: dict[str, Any] = {"padding_mask_B1HW": batch.padding_mask_B1HW, "fps": batch.fps}
        if mask_B1T11 is not None and self._has_mask:
            given["condition_mask_B1THW"] = mask_B1T11.expand(-1, -1, -1, *x_BCTHW.shape[3:])
        inputs = x_BCTHW.to(self._dtype), c_noise_B.to(self._dtype), text_BLC
        hint = batch.hints[self._hint].to(self._dtype)
        residuals = self.networks["net"](*inputs, hint_BCTHW=hint, **given)
        output: Tensor = self.frozen[0](*inputs, control_residuals=residuals, **given)
        return output

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """See `cosmos_cli.training.task.Task`."""
        for network in (self.networks["net"], *self.frozen):
            parallelise(network, group)  # type: ignore[arg-type]

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip made anew under its text and its control, the control beside it."""
        assert self.tokenizer is not None
        x0 = batch.latents_BCTHW[:1].to(self._dtype)
        one = replace(batch, hints={self._hint: batch.hints[self._hint][:1]}, padding_mask_B1HW=None)

        def raw(x_BCTHW: Tensor, c_noise_B: Tensor, text_BLC: Tensor) -> Tensor:
            return self._controlled(one, text_BLC, x_BCTHW, c_noise_B, None)

        latents = sample_guided(raw, x0, batch.text_BLC[:1].to(self._dtype), seed=seed, num_steps=num_steps)
        shown = [latents, one.hints[self._hint].to(self._dtype)]
        frames = [to_frames_truncated(self.tokenizer.decode(each)) for each in shown]
        return [torch.from_numpy(np.concatenate(frames, axis=2))]


def sample_guided(
    raw: Callable[[Tensor, Tensor, Tensor], Tensor], like_BCTHW: Tensor, text_BLC: Tensor, *, seed: int, num_steps: int
) -> Tensor:
    """Latents that networks make now under a text, in the shape, the dtype and on the device of `like_BCTHW`.

    Args:
        raw: output of the network for scaled latents, noise levels (B,) and a text.
    """

    def x0_under(text_BLC: Tensor, x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        def network(scaled: Tensor, c_noise: Tensor) -> Tensor:
            return raw(scaled, c_noise.expand(len(scaled)), text_BLC).to(scaled)

        return predict_x0(network, x_BCTHW.to(like_BCTHW), sigma.to(like_BCTHW)).float()

    def denoiser(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        sides = [x0_under(text, x_BCTHW, sigma) for text in (text_BLC, torch.zeros_like(text_BLC))]
        return guide(sides[0], sides[1], _SAMPLE_GUIDANCE)

    noise = torch.randn(like_BCTHW.shape, generator=torch.Generator().manual_seed(seed)).to(like_BCTHW.device)
    latents = sample_res(denoiser, noise * _SIGMA_MAX, karras_sigmas(num_steps, _SIGMA_MIN, _SIGMA_MAX))
    return latents.to(like_BCTHW)


def control(recipe: Recipe, where: Where) -> ControlTask:
    """The task of a recipe; see `cosmos_cli.training.task.BuildTask`."""
    assert isinstance(recipe, ControlRecipe)
    variant, model = of_size(VARIANTS, recipe), recipe.model
    networks: dict[str, Any] = {"driving": model.driving, "distilled": False, "attention": where.attention}
    torch.manual_seed(recipe.trainer.seed)  # of what no file has
    base_path = find_weights(recipe, where, model.base_path)
    base = load_base(base_path, variant, **networks, dtype=where.dtype, device=torch.device("cpu"))
    if recipe.checkpoint.load_path:
        path = find_weights(recipe, where, recipe.checkpoint.load_path)
        branch = load_branch(path, variant, **networks, dtype=torch.float32, device=torch.device("cpu"))
    else:
        branch = new_branch(variant.branch(driving=model.driving), base, where.attention)
        if model.carries_hint:
            carry_hint(branch)
    tokenizer = load_chunked_tokenizer(
        folder_named(TINY_ROOT if model.size == "tiny" else where.checkpoint_dir, VIDEO_TOKENIZER.name),
        config=variant.tokenizer,
        chunk_frames=recipe.data.num_frames,
        sigma_data=SIGMA_DATA,
        dtype=where.dtype,
        device=where.device,
    )
    head = load_log_variance(base_path, BASE.wrappers).to(where.device) if recipe.loss.log_variance else None
    return ControlTask(
        recipe.loss, branch, base, head, tokenizer, hint=recipe.data.hint, dtype=where.dtype, device=where.device
    )


def new_branch(config: ControlBranchConfig, base: GeneralDiT, attention: str = "sdpa") -> ControlBranch:
    """A branch that changes nothing yet: what it has in common with the base is the base's, its ways out are zero.

    Source: cosmos-transfer1 5005e82, diffusion/training/models/model_ctrl.py (behaviour).
    """
    branch = ControlBranch(config, attention)
    own, known = branch.state_dict(), base.state_dict()
    same = {name: known[name].float() for name, tensor in own.items() if name in known and _fits(known[name], tensor)}
    branch.load_state_dict(own | same)
    with torch.no_grad():
        for name, parameter in branch.named_parameters():
            if name.startswith(_ZEROED) or (name.startswith("input_hint_block.") and name.endswith(".bias")):
                parameter.zero_()
    return branch


@torch.no_grad()
def carry_hint(branch: ControlBranch) -> None:
    """Let the hint pass its layers nearly unchanged, as many numbers of it as the narrowest one has.

    Weights of chance let it fade in each of these layers, so that a small model is long blind to it. Here every
    activation works around a point where it is nearly a straight line, and turned coordinates lose nothing on the way.
    """
    layers = [layer for layer in branch.input_hint_block if isinstance(layer, nn.Linear)]
    point = torch.tensor(_STRAIGHT_AT)
    for layer in layers:
        nn.init.orthogonal_(layer.weight, gain=_LOUDNESS if layer is layers[-1] else 1)
        layer.bias.zero_()
        if layer is not layers[0]:
            layer.bias.sub_(layer.weight.sum(1) * F.silu(point))
        if layer is not layers[-1]:
            layer.bias.add_(point)


def _fits(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape


def find_weights(recipe: Recipe, where: Where, name: str) -> Path:
    """Raises CheckpointError: the file is not there."""
    roots = [where.checkpoint_dir, *([TINY_ROOT] if recipe.model.size == "tiny" else []), Path()]
    found = next((root / name for root in roots if (root / name).is_file()), None)
    if found is None:
        which = f" --controls {recipe.model.control}" if isinstance(recipe, ControlRecipe) else ""
        raise CheckpointError(
            "the weights to begin with are not there.",
            where=str(where.checkpoint_dir / name),
            fix=f"Fetch them with `cosmos download transfer{which}`, or name others.",
        )
    return found
