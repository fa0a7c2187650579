"""Control branches of the general diffusion transformer: a video of edges, depth and the like steers the generation.

A branch is a copy of the network's first blocks with embeddings of its own. It reads the same noisy latents, takes the
control's latents (the hint) in after its first block, and gives one residual per block, which the network adds to its
own tokens after the block of the same number. Several branches act together by the weighted sum of their residuals.
"""

# B batch, C latent channels, T latent frames, H and W latent height and width, or height and width in patches
# D model width

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import HINT_WIDTHS, ControlBranchConfig
from cosmos_cli.models.context_parallel import ALONE, ContextParallel
from cosmos_cli.models.dit_layers import EncodedText, PatchEmbedding, padding_channel, plus
from cosmos_cli.models.general_dit import GeneralDiTTrunk
from cosmos_cli.models.rope import RotaryTable


class ControlBranch(GeneralDiTTrunk):
    """One residual per block, from noisy latents and a hint.

    Published files hold a final layer that no branch uses; it is kept so that a file is taken, and written, whole.

    Args:
        attention_backend: a name from `cosmos_cli.runtime.attention.available_backends()`.
    Source: cosmos-transfer1 main, diffusion/networks/general_dit_ctrl_enc.py; Zhang et al. 2023, arXiv:2302.05543.
    """

    config: ControlBranchConfig

    def __init__(self, config: ControlBranchConfig, attention_backend: str = "sdpa") -> None:
        super().__init__(config, attention_backend)
        width = config.model_channels
        hint_channels = config.hint_channels + config.concat_padding_mask
        self.x_embedder2 = PatchEmbedding(hint_channels, config.patch_THW, width)
        layers: list[nn.Module] = []
        for n_in, n_out in zip((width, *HINT_WIDTHS), (*HINT_WIDTHS, width), strict=True):
            layers += [nn.Linear(n_in, n_out), nn.SiLU()]
        self.input_hint_block = nn.Sequential(*layers[:-1])
        self.zero_blocks = nn.ModuleDict({name: nn.Linear(width, width) for name in self.blocks})

    def encode_hint(self, hint_BCTHW: Tensor, padding_mask_B1HW: Tensor | None = None) -> Tensor:
        """The hint as tokens, (B, T, H, W, D); it depends on nothing that changes over the steps.

        Args:
            hint_BCTHW: normalised latents of the control video, with neither noise nor scaling, in the dtype of the
                network.
            padding_mask_B1HW: as for `forward`.
        Raises:
            ValueError: more channels than `hint_channels`.
        """
        B, channels, *size_THW = hint_BCTHW.shape
        missing = self.config.hint_channels - channels
        if missing < 0:
            raise ValueError(f"a hint of {channels} channels for a branch of {self.config.hint_channels}")
        parts = [hint_BCTHW, hint_BCTHW.new_zeros(B, missing, *size_THW)]
        if self.config.concat_padding_mask:
            parts.append(padding_channel(hint_BCTHW, padding_mask_B1HW))
        tokens_BTHWD = self.context.share(self.x_embedder2(torch.cat(parts, dim=1)), dim=2)
        guided_hint_BTHWD: Tensor = self.input_hint_block(tokens_BTHWD)
        return guided_hint_BTHWD

    def forward(
        self,
        x_BCTHW: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        guided_hint_BTHWD: Tensor | None = None,
        *,
        hint_BCTHW: Tensor | None = None,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
        positions_THWD: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """One residual per block, (B, T, H, W, D) each.

        Args:
            guided_hint_BTHWD: `encode_hint` of the hint; or None, and the hint itself.
            hint_BCTHW: as for `encode_hint`: what is trained reads its parameters here.
            text: embedding of the prompt, or this branch's own `encode_text` of it.
            rope, positions_THWD: this branch's own, not the network's.
        Arguments otherwise, and errors, as for `GeneralDiT.forward`; ValueError too without a hint.
        """
        if hint_BCTHW is not None:
            guided_hint_BTHWD = self.encode_hint(hint_BCTHW, padding_mask_B1HW)
        if guided_hint_BTHWD is None:
            raise ValueError("a control branch needs a hint")
        return tuple(
            self.residuals(
                x_BCTHW,
                timesteps_B,
                text,
                guided_hint_BTHWD,
                condition_mask_B1THW=condition_mask_B1THW,
                padding_mask_B1HW=padding_mask_B1HW,
                fps=fps,
                rope=rope,
                positions_THWD=positions_THWD,
            )
        )

    def residuals(
        self,
        x_BCTHW: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        guided_hint_BTHWD: Tensor,
        *,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
        positions_THWD: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """What `forward` gives, each residual computed when it is asked for and not kept."""
        yield from self.residuals_of(
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW),
            timesteps_B.to(x_BCTHW.dtype),
            text,
            guided_hint_BTHWD,
            fps=fps,
            rope=rope,
            positions_THWD=positions_THWD,
        )

    def residuals_of(
        self,
        x_BTHWD: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        guided_hint_BTHWD: Tensor,
        *,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
        positions_THWD: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """What `residuals` gives, out of what `embed` gives; the timesteps are in the dtype of the network."""
        rope, positions_THWD = self.tables(x_BTHWD, fps, rope, positions_THWD)
        x_BTHWD = self.context.share(x_BTHWD, dim=2)
        emb_BSD, adaln_lora_BSM = self.embed_timesteps(timesteps_B)
        texts = self.text_of_blocks(text)
        for i, (name, block) in enumerate(self.blocks.items()):
            x_BTHWD = block(x_BTHWD, emb_BSD, adaln_lora_BSM, texts[i], rope, positions_THWD)
            if i == 0:
                x_BTHWD = plus(x_BTHWD, guided_hint_BTHWD)
            yield self.zero_blocks[name](x_BTHWD)


def sum_residuals(
    controls: Iterable[tuple[float | Tensor, Iterable[Tensor]]], context: ContextParallel = ALONE
) -> Iterator[Tensor]:
    """The weighted sum of several branches' residuals, block by block; nothing at all if no control has weight.

    Each product and each sum is rounded to the residuals' dtype, in the order of the controls. Everything is computed
    when it is asked for: one sum and one residual are held at a time, and a control of weight 0 is never computed. A
    map on a GPU counts as one that is not 0: to look would mean to wait for it, at every step.

    Args:
        controls: weight and residuals (`ControlBranch.residuals`) of each. A weight is a number, or a map over the
            latent frames and patches, (B or 1, 1, T, H, W), whole on every rank, so that all ranks leave out the same.
        context: of the networks that the residuals come from and go to.
    """
    weighted = [_weighted(weight, residuals, context) for weight, residuals in controls if _has_effect(weight)]
    while total := _next_sum(weighted):
        yield total.pop()  # a name for it would keep the sum while the network computes its next block


def _has_effect(weight: float | Tensor) -> bool:
    if not isinstance(weight, Tensor):
        return weight != 0
    return weight.device.type != "cpu" or bool(weight.any())


def _weighted(weight: float | Tensor, residuals: Iterable[Tensor], context: ContextParallel) -> Iterator[Tensor]:
    """Products of residuals (B, T, H, W, D) and a weight, a map moved to (B, T, H, W, 1)."""
    if not isinstance(weight, Tensor) or weight.ndim == 0:
        return (residual * weight for residual in residuals)
    weight_BTHW1 = context.share(weight.movedim(1, -1), dim=2)
    return (residual * weight_BTHW1.to(residual) for residual in residuals)


def _next_sum(streams: list[Iterator[Tensor]]) -> list[Tensor]:
    """The sum of the streams' next tensors, alone in a list that is empty when all have ended."""
    total: list[Tensor] = []
    for stream in streams:
        for product in islice(stream, 1):
            total = [plus(total[0], product) if total else product]
    return total
