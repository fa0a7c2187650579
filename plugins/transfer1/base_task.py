"""What Transfer1 gives to be trained beside control branches: the base that they steer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cosmos_cli.checkpoints.catalogue import VIDEO_TOKENIZER, folder_named
from cosmos_cli.diffusion.edm import SIGMA_DATA
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.edm_task import EDMTask
from cosmos_cli.training.objectives import load_log_variance
from cosmos_cli.training.recipe import Recipe, of_size
from cosmos_cli.training.task import Batch, Where
from cosmos_plugins.transfer1.checkpoints import TINY_ROOT
from cosmos_plugins.transfer1.formats import BASE
from cosmos_plugins.transfer1.networks import load_base
from cosmos_plugins.transfer1.task import find_weights, sample_guided
from cosmos_plugins.transfer1.variants import VARIANTS

# B batch, C latent channels, T latent frames, H and W latent height and width


class BaseTask(EDMTask):
    """A base network for one view, and its uncertainty head."""

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip made anew under its text alone."""
        assert self.tokenizer is not None
        x0 = batch.latents_BCTHW[:1].to(self._dtype)

        def raw(x_BCTHW: Tensor, c_noise_B: Tensor, text_BLC: Tensor) -> Tensor:
            output: Tensor = self.networks["net"](x_BCTHW, c_noise_B, text_BLC, fps=batch.fps)
            return output

        latents = sample_guided(raw, x0, batch.text_BLC[:1].to(self._dtype), seed=seed, num_steps=num_steps)
        return [torch.from_numpy(to_frames_truncated(self.tokenizer.decode(latents)))]


def base(recipe: Recipe, where: Where) -> BaseTask:
    """The task of a recipe; see `cosmos_cli.training.task.BuildTask`. Random where no weights are named."""
    variant, is_tiny = of_size(VARIANTS, recipe), recipe.model.size == "tiny"
    torch.manual_seed(recipe.trainer.seed)
    config, path = variant.base(driving=False), None
    if recipe.checkpoint.load_path:
        path = find_weights(recipe, where, recipe.checkpoint.load_path)
        options: dict[str, Any] = {"driving": False, "distilled": False, "attention": where.attention}
        network = load_base(path, variant, **options, dtype=torch.float32, device=torch.device("cpu"))
    else:
        network = GeneralDiT(config, where.attention)
    tokenizer = load_chunked_tokenizer(
        folder_named(TINY_ROOT if is_tiny else where.checkpoint_dir, VIDEO_TOKENIZER.name),
        config=variant.tokenizer,
        chunk_frames=recipe.data.num_frames,
        sigma_data=SIGMA_DATA,
        dtype=where.dtype,
        device=where.device,
    )
    head = load_log_variance(path, BASE.wrappers) if recipe.loss.log_variance else None
    return BaseTask(recipe.loss, network, head, tokenizer, where.dtype, where.device)
