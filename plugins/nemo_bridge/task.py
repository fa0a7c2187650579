"""What a Cosmos-1.0 diffusion model gives to be trained: its network, under NeMo's loss, on latents or on clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.catalogue import folder_named
from cosmos_cli.diffusion.edm import SIGMA_DATA, Network, denoise
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.edm_task import HEAD, EDMTask
from cosmos_cli.training.objectives import LogVariance
from cosmos_cli.training.recipe import LossRecipe, Recipe, of_size
from cosmos_cli.training.task import Batch, Where
from cosmos_plugins.nemo_bridge.checkpoints import TINY_TOKENIZER, TOKENIZER
from cosmos_plugins.nemo_bridge.dataset.folder import VIDEO_LATENT
from cosmos_plugins.nemo_bridge.recipes import PREPARED, NemoRecipe, network_of
from cosmos_plugins.nemo_bridge.start import load_start
from cosmos_plugins.nemo_bridge.variants import VARIANTS

# B batch, C latent channels, T latent frames, H and W latent height and width

_SIGMA_MIN, _SIGMA_MAX = 0.002, 80.0
_SAMPLE_GUIDANCE = 7.0


class NemoTask(EDMTask):
    """The network of one view. The uncertainty head goes along unchanged, for this loss has no use for it, unless
    `loss.log_variance` says otherwise.
    """

    def __init__(
        self,
        loss: LossRecipe,
        dit: GeneralDiT,
        head: nn.Module | None,
        tokenizer: ChunkedTokenizer | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),
    ) -> None:
        super().__init__(loss, dit, head if loss.log_variance else None, tokenizer, dtype, device)
        if head is not None and not loss.log_variance:
            self.networks[HEAD] = head.requires_grad_(False)

    def encode(self, examples: Examples) -> Batch:
        """Prepared latents times the deviation that the network knows, which is exact; or those of frames."""
        if VIDEO_LATENT not in examples.extras:
            return super().encode(examples)
        latents = examples.extras[VIDEO_LATENT].to(self._device).float() * SIGMA_DATA
        return Batch(latents, examples.text_BLC.to(self._device, self._dtype), examples.fps)

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip made anew under its text, from its first latent frame if the network is given some."""
        assert self.tokenizer is not None
        x0, net = batch.latents_BCTHW[:1].to(self._dtype), cast(GeneralDiT, self.networks["net"])
        given = first_frames(x0, 1) if net.config.condition_mask else None
        mask = None if given is None else given.mask_B1T11.to(self._dtype).expand(-1, -1, -1, *x0.shape[3:])
        text_BLC = batch.text_BLC[:1].to(self._dtype)
        generator = torch.Generator().manual_seed(seed)
        start, on_given = (torch.randn(x0.shape, generator=generator).to(self._device) for _ in range(2))

        def under(text_BLC: Tensor) -> Network:
            options: dict[str, Any] = {"condition_mask_B1THW": mask, "fps": batch.fps}
            return lambda x, c_noise: net(x, c_noise.to(x).expand(len(x)), text_BLC, **options)

        def denoiser(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
            sides = [
                denoise(under(text), x_BCTHW, sigma, given, on_given, dtype=self._dtype).float()
                for text in (text_BLC, torch.zeros_like(text_BLC))
            ]
            return guide(sides[0], sides[1], _SAMPLE_GUIDANCE)

        latents = sample_res(denoiser, start * _SIGMA_MAX, karras_sigmas(num_steps, _SIGMA_MIN, _SIGMA_MAX))
        frames = to_frames_truncated(self.tokenizer.decode(latents.to(self._dtype)))
        return [torch.from_numpy(frames)]


def build_task(recipe: Recipe, where: Where) -> NemoTask:
    """The task of a recipe; see `cosmos_cli.training.task.BuildTask`."""
    assert isinstance(recipe, NemoRecipe)
    torch.manual_seed(recipe.trainer.seed)  # of what no file has
    if recipe.checkpoint.load_path:
        dit, head = load_start(recipe, where.checkpoint_dir, where.attention)
    else:
        dit, head = GeneralDiT(network_of(recipe), where.attention), LogVariance()
    return NemoTask(recipe.loss, dit, head, _tokenizer(recipe, where), where.dtype, where.device)


def _tokenizer(recipe: NemoRecipe, where: Where) -> ChunkedTokenizer | None:
    """What encodes clips and decodes samples; None where there are neither."""
    if recipe.data.source == PREPARED and recipe.log.sample_iter is None:
        return None
    return load_chunked_tokenizer(
        tokenizer_folder(recipe, where.checkpoint_dir),
        config=of_size(VARIANTS, recipe).helpers.tokenizer,
        chunk_frames=recipe.data.num_frames,
        sigma_data=SIGMA_DATA,
        dtype=where.dtype,
        device=where.device,
    )


def tokenizer_folder(recipe: NemoRecipe, checkpoint_dir: Path) -> Path:
    """Where the tokenizer of a recipe's model lies."""
    if recipe.model.size == "tiny":
        return folder_named(TINY_ROOT, TINY_TOKENIZER)
    return TOKENIZER.folder(checkpoint_dir)
