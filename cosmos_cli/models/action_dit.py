"""The minimal diffusion transformer of a robot: the actions between the frames steer it together with the noise level.

What two small MLPs make of all actions of the clip is added to what steers every block: to the embedding of the noise
level, before its norm, and to the modulation that the blocks share.
"""

# B batch, N actions, A numbers of one action, C latent channels, T latent frames, H and W latent height and width
# D model width, M = 3 D

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.models.configs import ActionDiTConfig
from cosmos_cli.models.minimal_dit import EncodedText, MinimalDiT
from cosmos_cli.models.rope import RotaryTable

__all__ = ["ActionDiT", "EncodedActions"]


class EncodedActions(NamedTuple):
    """What the actions of a clip add to the noise level's embedding, (B, 1, D), and shared modulation, (B, 1, M)."""

    emb_B1D: Tensor
    adaln_lora_B1M: Tensor


class ActionMLP(nn.Module):
    """All actions of a clip as one vector."""

    def __init__(self, channels: int, hidden: int, channels_out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels_out)

    def forward(self, actions: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(actions), approximate="tanh"))


class ActionDiT(MinimalDiT):
    """Predicts the velocity (noise minus clean latents) of noisy latents under a robot's actions.

    Source: cosmos-predict2 661da47, models/video2world_action_dit.py.
    """

    config: ActionDiTConfig

    def __init__(self, config: ActionDiTConfig, attention_backend: str = "sdpa") -> None:
        super().__init__(config, attention_backend)
        width = config.model_channels
        self.action_embedder_B_D = ActionMLP(config.action_dim, 4 * width, width)
        self.action_embedder_B_3D = ActionMLP(config.action_dim, 4 * width, 3 * width)

    def forward(  # type: ignore[override]  # without actions there is nothing to predict
        self,
        x_BCTHW: Tensor,
        timesteps_BT: Tensor,
        text: Tensor | EncodedText,
        actions: Tensor | EncodedActions,
        *,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        rope: RotaryTable | None = None,
    ) -> Tensor:
        """The velocity, (B, out_channels, T, H, W), in the dtype of the latents.

        Args:
            actions: (B, N, A) in the order of time, scaled as in training, or `encode_actions` of them.
        Arguments otherwise, and errors, as for `MinimalDiT.forward`.
        """
        encoded = actions if isinstance(actions, EncodedActions) else self.encode_actions(actions.to(x_BCTHW.dtype))
        return self.predict(  # no name for the tokens here: it would keep them while the blocks replace them
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW),
            self.embed_timesteps_and_actions(timesteps_BT.to(x_BCTHW.dtype), encoded),
            text,
            rope=rope,
        )

    def encode_actions(self, actions_BNA: Tensor) -> EncodedActions:
        """What a clip's actions add at every step, so that no step computes it again.

        Raises:
            ValueError: not `action_dim` numbers in all.
        """
        flat_B1A = actions_BNA.flatten(1)[:, None]
        if flat_B1A.shape[-1] != self.config.action_dim:
            raise ValueError(
                f"actions of shape {tuple(actions_BNA.shape)} do not hold {self.config.action_dim} numbers per clip"
            )
        return EncodedActions(self.action_embedder_B_D(flat_B1A), self.action_embedder_B_3D(flat_B1A))

    def embed_timesteps_and_actions(self, timesteps_BT: Tensor, actions: EncodedActions) -> tuple[Tensor, Tensor]:
        """As `embed_timesteps`, with the actions added."""
        emb_BSD, adaln_lora_BSM = self.t_embedder(timesteps_BT)
        return self.t_embedding_norm(emb_BSD + actions.emb_B1D), adaln_lora_BSM + actions.adaln_lora_B1M
