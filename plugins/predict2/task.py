"""What Predict2 gives to be trained: its networks, for one view, for several, or under a robot's actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.frames import to_video
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.configs import ActionDiTConfig, MinimalDiTConfig, MinimalMultiviewDiTConfig
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.objectives import keep_text, rectified_flow_loss
from cosmos_cli.training.recipe import LossRecipe, Recipe, of_size
from cosmos_cli.training.task import Batch, Loss, Where, learning
from cosmos_plugins.predict2.denoise import decode, guided, sample_latents
from cosmos_plugins.predict2.recipes import network_of
from cosmos_plugins.predict2.variants import VARIANTS

# B batch, V views, C latent channels, T latent frames of all views, H and W latent height and width; F pixel frames
# L text positions of one view, N actions, A numbers of one action

_SAMPLE_GUIDANCE = 7.0


class Predict2Task:
    """The network under the rectified-flow loss; see `cosmos_cli.training.task.Task`.

    Args:
        dit: for one view, for several views, or under actions.
        num_views: of a clip.
        tokenizer: None where latents come from elsewhere.
        dtype: of the network's input, and of the tokenizer.
    """

    def __init__(
        self,
        loss: LossRecipe,
        dit: MinimalDiT,
        tokenizer: WanVAE | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),
        *,
        num_views: int = 1,
    ) -> None:
        self._loss, self.tokenizer, self._dtype, self._device = loss, tokenizer, dtype, device
        self._num_views = num_views
        self.networks = nn.ModuleDict({"net": learning(dit)})
        self.frozen: Sequence[nn.Module] = ()
        self.constants: Mapping[str, Tensor] = {}

    @property
    def _net(self) -> MinimalDiT:
        return cast(MinimalDiT, self.networks["net"])

    def encode(self, examples: Examples) -> Batch:
        """Every view by itself: the tokenizer looks back in time, and a view must not see another's last frames."""
        latents = torch.cat([self._latents(frames) for frames in examples.frames_BFHWC])
        padding = examples.padding_mask_BHW
        return Batch(
            latents,
            examples.text_BLC.to(self._device, self._dtype),
            examples.fps,
            None if padding is None else padding[:, None].to(self._device, self._dtype),
            extras={name: tensor.to(self._device) for name, tensor in examples.extras.items()},
        )

    def _latents(self, frames_FHWC: Tensor) -> Tensor:
        """Of one clip, (1, C, T, H, W) float32, one view after the other."""
        assert self.tokenizer is not None
        views = frames_FHWC.unflatten(0, (self._num_views, -1)).numpy()
        return torch.cat(
            [self.tokenizer.encode(to_video(view, self._device, self._dtype)).float() for view in views], dim=2
        )

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """See `cosmos_cli.training.task.Task`."""
        text_BLC = keep_text(batch.text_BLC, draws)
        _, _, _, H, W = batch.latents_BCTHW.shape

        def predict(x_BCTHW: Tensor, levels_BT: Tensor, mask_B1T11: Tensor | None) -> Tensor:
            mask = None if mask_B1T11 is None else mask_B1T11.expand(-1, -1, -1, H, W)
            return self._velocity(batch, text_BLC, x_BCTHW, levels_BT, mask)

        return rectified_flow_loss(predict, batch.latents_BCTHW, draws, self._loss, num_views=self._num_views)

    def _velocity(
        self, batch: Batch, text_BLC: Tensor, x_BCTHW: Tensor, levels_BT: Tensor, mask_B1THW: Tensor | None
    ) -> Tensor:
        """What the network makes of noisy latents, through its `forward`, since its parameters may lie in shards."""
        net, text = self._net, text_BLC.to(self._dtype)
        options: dict[str, Any] = {"padding_mask_B1HW": batch.padding_mask_B1HW}
        if mask_B1THW is not None:
            options["condition_mask_B1THW"] = mask_B1THW.to(self._dtype)
        steering = []
        if isinstance(net, ActionDiT):
            steering.append(batch.extras["actions"][: len(x_BCTHW)].to(self._dtype))
        else:
            options["fps"] = batch.fps
        if isinstance(net, MinimalMultiviewDiT):
            text = text.unflatten(1, (self._num_views, -1))
            if "view_indices" in batch.extras:
                options["view_indices_BV"] = batch.extras["view_indices"][: len(x_BCTHW)]
        output: Tensor = net(x_BCTHW.to(self._dtype), levels_BT.to(self._dtype), text, *steering, **options)
        return output

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """See `cosmos_cli.training.task.Task`."""
        parallelise(self._net, group)

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip made anew from its first latent frame, under its text or its actions."""
        assert self.tokenizer is not None
        conditioning = given_views(batch.latents_BCTHW[:1], self._num_views, num_frames=1)
        mask = conditioning.mask_B1T11.expand(-1, -1, -1, *batch.latents_BCTHW.shape[3:])
        text_BLC, is_steered = batch.text_BLC[:1], isinstance(self._net, ActionDiT)
        own = replace(batch, padding_mask_B1HW=None)

        def under(text_BLC: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda x_BCTHW, levels_BT: self._velocity(own, text_BLC, x_BCTHW, levels_BT, mask)

        guidance = 0.0 if is_steered else _SAMPLE_GUIDANCE
        denoiser = guided(
            under(text_BLC),
            under(torch.zeros_like(text_BLC)) if guidance else None,
            conditioning,
            guidance=guidance,
            dtype=self._dtype,
        )
        latents = sample_latents(denoiser, conditioning, Clock(), num_steps=num_steps, seed=seed)
        views = latents.chunk(self._num_views, dim=2)
        return [torch.cat([torch.from_numpy(decode(self.tokenizer, view)) for view in views], dim=2)]


def video2world(recipe: Recipe, where: Where) -> Predict2Task:
    """The task of a recipe for one view; see `cosmos_cli.training.task.BuildTask`."""
    config = network_of(recipe, "video2world")
    return _task(recipe, where, lambda: MinimalDiT(config, where.attention))


def multiview(recipe: Recipe, where: Where) -> Predict2Task:
    """The task of a recipe for several views; see `cosmos_cli.training.task.BuildTask`."""
    config = cast(MinimalMultiviewDiTConfig, network_of(recipe, "multiview"))
    return _task(recipe, where, lambda: MinimalMultiviewDiT(config, where.attention))


def action(recipe: Recipe, where: Where) -> Predict2Task:
    """The task of a recipe under a robot's actions; see `cosmos_cli.training.task.BuildTask`."""
    config = cast(ActionDiTConfig, network_of(recipe, "action"))
    return _task(recipe, where, lambda: ActionDiT(config, where.attention))


def _task(recipe: Recipe, where: Where, build: Callable[[], MinimalDiT]) -> Predict2Task:
    """The networks of a recipe, filled from its `checkpoint.load_path`, or with chance where that is empty.

    Raises:
        CheckpointError: weights are missing, damaged or of another network.
    """
    variant = of_size(VARIANTS, recipe)
    root = TINY_ROOT if recipe.model.size == "tiny" else where.checkpoint_dir
    path = weights_of(recipe, where) if recipe.checkpoint.load_path else None
    tokenizer = load_network(
        lambda: WanVAE(variant.vae), root / variant.tokenizer_file, dtype=where.dtype, device=where.device
    )
    torch.manual_seed(recipe.trainer.seed)
    return Predict2Task(
        recipe.loss,
        build() if path is None else _filled(path, build),
        tokenizer,
        where.dtype,
        where.device,
        num_views=recipe.data.num_views,
    )


def _filled(path: Path, build: Callable[[], MinimalDiT]) -> MinimalDiT:
    """The network with the weights of a file, of the file's precision.

    What reads actions is left to chance where the file is of a network that reads none.
    """
    with open_checkpoint(path, PUBLISHED.wrappers) as checkpoint:
        has_actions = any("action_embedder" in key for key in checkpoint.keys())  # noqa: SIM118
        with torch.device("meta"):
            kind, config = type(probe := build()), probe.config
        if not issubclass(kind, ActionDiT) or has_actions:
            return load_network(build, checkpoint, naming=PUBLISHED)
        plain = {each.name: getattr(config, each.name) for each in fields(MinimalDiTConfig)}
        base = load_network(lambda: MinimalDiT(MinimalDiTConfig(**plain)), checkpoint, naming=PUBLISHED)
    dit = build()
    dit.load_state_dict(base.state_dict(), strict=False, assign=True)
    return dit


def weights_of(recipe: Recipe, where: Where) -> Path:
    """Where the first weights lie.

    Raises:
        CheckpointError: they are not there.
    """
    named = recipe.checkpoint.load_path
    roots = [where.checkpoint_dir, Path(), *([TINY_ROOT] if recipe.model.size == "tiny" else [])]
    found = next((root / named for root in roots if (root / named).is_file()), None)
    if found is None:
        raise CheckpointError(
            "the weights to begin with are not there.",
            where=str(where.checkpoint_dir / named),
            fix="Fetch them with `cosmos download`, name others by checkpoint.load_path=PATH, or begin from chance "
            "with checkpoint.load_path= (nothing behind it).",
        )
    return found
