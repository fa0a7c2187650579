"""What Predict1 gives to be trained: its network, for one view or several, under the EDM loss."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.checkpoints.catalogue import VIDEO_TOKENIZER
from cosmos_cli.diffusion.edm import SIGMA_DATA
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.generation.denoise import sample_latents
from cosmos_cli.generation.networks import build_dit, load_dit
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.variants import TINY_ROOT, Helpers
from cosmos_cli.generation.weights import find_weights, paths_of
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.models.configs import GeneralDiTConfig, MultiViewConfig
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.edm_task import EDMTask
from cosmos_cli.training.objectives import load_log_variance
from cosmos_cli.training.recipe import Recipe, of_size
from cosmos_cli.training.task import Batch, Where
from cosmos_plugins.predict1_multiview.formats import DIT
from cosmos_plugins.predict1_multiview.recipes import MultiviewRecipe, network_of
from cosmos_plugins.predict1_multiview.single_view.recipes import SingleViewRecipe
from cosmos_plugins.predict1_multiview.single_view.recipes import network_of as network_of_one_view
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW, SINGLE_VIEW

# B batch, V views, C latent channels, T latent frames of all views, H and W latent height and width; F pixel frames

_SAMPLE_GUIDANCE = 7.0


class Predict1Task(EDMTask):
    """The network of one view or several, and its uncertainty head."""

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip made anew under its text, from its first latent frames if the network is given some.

        Every call of the network goes through its `forward`, since its parameters may lie in shards.
        """
        assert self.tokenizer is not None
        x0, net = batch.latents_BCTHW[:1].to(self._dtype), cast(GeneralDiT, self.networks["net"])
        conditioning = given_views(x0, self._num_views, num_frames=1) if net.config.condition_mask else None
        text_BLC = batch.text_BLC[:1].to(self._dtype)

        def under(text_BLC: Tensor, x_BCTHW: Tensor, c_noise: Tensor) -> Tensor:
            mask = None if conditioning is None else conditioning.mask_B1T11.expand(-1, -1, -1, *x0.shape[3:])
            levels_B = c_noise.to(x_BCTHW).expand(len(x_BCTHW))
            output: Tensor = net(x_BCTHW, levels_B, text_BLC, condition_mask_B1THW=mask, fps=batch.fps)
            return output

        def network(x_BCTHW: Tensor, c_noise: Tensor) -> Tensor:
            cond, uncond = (under(text, x_BCTHW, c_noise).float() for text in (text_BLC, torch.zeros_like(text_BLC)))
            return guide(cond, uncond, _SAMPLE_GUIDANCE).to(self._dtype)

        latents = sample_latents(
            network,
            x0.shape,
            Clock(),
            num_steps=num_steps,
            seed=seed,
            dtype=self._dtype,
            device=self._device,
            conditioning=conditioning,
        )
        views = latents.chunk(self._num_views, dim=2)
        frames = [to_frames_truncated(self.tokenizer.decode(view)) for view in views]
        return [torch.from_numpy(np.concatenate(frames, axis=2))]


def multiview(recipe: Recipe, where: Where) -> Predict1Task:
    """The task of a recipe for several views; see `cosmos_cli.training.task.BuildTask`."""
    assert isinstance(recipe, MultiviewRecipe)
    return build_task(recipe, where, network_of(recipe), of_size(MULTIVIEW, recipe).helpers)


def single_view(recipe: Recipe, where: Where) -> Predict1Task:
    """The task of a recipe for one view; see `cosmos_cli.training.task.BuildTask`."""
    assert isinstance(recipe, SingleViewRecipe)
    return build_task(recipe, where, network_of_one_view(recipe), of_size(SINGLE_VIEW, recipe).helpers)


def build_task(recipe: Recipe, where: Where, config: GeneralDiTConfig, helpers: Helpers) -> Predict1Task:
    """The networks of a recipe, filled from its `checkpoint.load_path`, or with chance where that is empty.

    Args:
        config: the network that the recipe asks for; a file may have other sizes where trainings differ.
    Raises:
        CheckpointError: weights are missing, damaged or of another network.
        InputError: the network in the file knows fewer views than the clips have.
    """
    is_tiny = recipe.model.size == "tiny"
    paths = paths_of(where.checkpoint_dir, "", helpers, tokenizer_dir=VIDEO_TOKENIZER.also_in[0], is_tiny=is_tiny)
    tokenizer = load_chunked_tokenizer(
        paths.tokenizer,
        config=helpers.tokenizer,
        chunk_frames=recipe.data.num_frames,
        sigma_data=SIGMA_DATA,
        dtype=where.dtype,
        device=where.device,
    )
    path = weights_of(recipe, where) if recipe.checkpoint.load_path else None
    torch.manual_seed(recipe.trainer.seed)  # of what no file has
    dit = build_dit(config, where.attention) if path is None else load_dit(path, config, attention=where.attention)
    if isinstance(dit.config, MultiViewConfig) and dit.config.n_views != recipe.data.num_views:
        raise InputError(
            f"clips of {recipe.data.num_views} views do not fit a network that reads {dit.config.n_views}.",
            where="data.num_views",
            fix=f"Give {dit.config.n_views}, or begin from chance with checkpoint.load_path= (nothing behind it).",
        )
    head = load_log_variance(path, DIT.wrappers) if recipe.loss.log_variance else None
    return Predict1Task(recipe.loss, dit, head, tokenizer, where.dtype, where.device)


def weights_of(recipe: Recipe, where: Where) -> Path:
    """Where the first weights lie.

    Raises:
        CheckpointError: they are not there.
    """
    roots = [where.checkpoint_dir, *([TINY_ROOT] if recipe.model.size == "tiny" else [])]
    places = [find_weights(root, recipe.checkpoint.load_path) for root in roots]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise CheckpointError(
            "the weights to begin with are not there.",
            where=str(where.checkpoint_dir / recipe.checkpoint.load_path),
            fix="Fetch them with `cosmos download`, name others by checkpoint.load_path=PATH, or begin from chance "
            "with checkpoint.load_path= (nothing behind it).",
        )
    return found
