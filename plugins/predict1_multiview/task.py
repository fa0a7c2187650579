"""What Predict1 gives to be trained: its network, for one view or several, under the EDM loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.objectives import edm_loss, keep_text
from cosmos_cli.training.recipe import LossRecipe
from cosmos_cli.training.task import Batch, Loss

# B batch, C latent channels, T latent frames of all views, H and W latent height and width


class Predict1Task:
    """The network and its uncertainty head.

    Args:
        dit: float32, or sharded; for one view or several, text2world or video2world.
        log_variance: of the loss; None where it is not learnt.
        dtype: of the network's input.
    """

    def __init__(
        self, loss: LossRecipe, dit: GeneralDiT, log_variance: nn.Module | None, dtype: torch.dtype = torch.float32
    ) -> None:
        self._loss, self._log_variance, self._dtype = loss, log_variance, dtype
        self.networks = nn.ModuleDict({"net": dit})
        if log_variance is not None:
            self.networks["logvar"] = log_variance
        self.frozen: Sequence[nn.Module] = ()
        self._num_views = dit.config.n_views if isinstance(dit, MultiViewDiT) else 1

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
