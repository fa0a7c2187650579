"""General diffusion transformers under the EDM loss, for one view or several, whatever family they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from cosmos_cli.media.frames import to_video
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.objectives import edm_loss, keep_text
from cosmos_cli.training.recipe import LossRecipe
from cosmos_cli.training.task import Batch, Loss, learning

# B batch, V views, C latent channels, T latent frames of all views, H and W latent height and width; F pixel frames

HEAD = "logvar"
"""The uncertainty head among a task's networks."""


class EDMTask:
    """The network and its uncertainty head, but for `sample`; see `cosmos_cli.training.task.Task`.

    Args:
        dit: for one view or several, text2world or video2world.
        log_variance: of the loss; None where it is not learnt.
        tokenizer: takes the frames of one view at a time; None where latents come from elsewhere.
        dtype: of the network's input, and of the tokenizer.
    """

    def __init__(
        self,
        loss: LossRecipe,
        dit: GeneralDiT,
        log_variance: nn.Module | None,
        tokenizer: ChunkedTokenizer | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),
    ) -> None:
        self._loss, self._log_variance, self.tokenizer = loss, log_variance, tokenizer
        self._dtype, self._device = dtype, device
        self.networks = nn.ModuleDict({"net": learning(dit)})
        if log_variance is not None:
            self.networks[HEAD] = log_variance
        self.frozen: Sequence[nn.Module] = ()
        # floats, as all of a published file is; bfloat16 has these numbers exactly
        self.constants: Mapping[str, Tensor] = {
            f"net.{name}": torch.arange(*shape).bfloat16() for name, shape in stored_constants(dit.config).items()
        }
        self._num_views = dit.config.n_views if isinstance(dit, MultiViewDiT) else 1

    def encode(self, examples: Examples) -> Batch:
        """Every view by itself: the tokenizer looks back in time, and a view must not see another's last frames."""
        latents = torch.cat([self._latents(frames) for frames in examples.frames_BFHWC])
        padding = examples.padding_mask_BHW
        return Batch(
            latents,
            examples.text_BLC.to(self._device, self._dtype),
            examples.fps,
            None if padding is None else padding[:, None].to(self._device, self._dtype),
        )

    def _latents(self, frames_FHWC: Tensor) -> Tensor:
        """Of one clip, (1, C, T, H, W) float32, one view after the other."""
        assert self.tokenizer is not None
        views = frames_FHWC.unflatten(0, (self._num_views, -1)).numpy()
        encoded = [self.tokenizer.encode(to_video(view, self._device, self._dtype)) for view in views]
        return torch.cat(encoded, dim=2).float()

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """See `cosmos_cli.training.task.Task`."""
        text_BLC = keep_text(batch.text_BLC, draws).to(self._dtype)
        _, _, _, H, W = batch.latents_BCTHW.shape

        def predict(x_BCTHW: Tensor, c_noise_B: Tensor, mask_B1T11: Tensor | None) -> Tensor:
            mask = None if mask_B1T11 is None else mask_B1T11.expand(-1, -1, -1, H, W)
            output: Tensor = self.networks["net"](
                x_BCTHW.to(self._dtype),
                c_noise_B.to(self._dtype),
                text_BLC,
                condition_mask_B1THW=mask,
                padding_mask_B1HW=batch.padding_mask_B1HW,
                fps=batch.fps,
            )
            return output

        return edm_loss(
            predict,
            batch.latents_BCTHW,
            draws,
            self._loss,
            num_views=self._num_views,
            log_variance=self._log_variance,
        )

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """See `cosmos_cli.training.task.Task`."""
        parallelise(cast(GeneralDiT, self.networks["net"]), group)
