"""The guided prediction of one chunk: base network, control branches, and what is constant over the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import EncodedText, GeneralDiT
from cosmos_cli.models.rope import RotaryTable
from cosmos_plugins.transfer1.tiles import merge_tiles, split_tiles

# B batch, C latent channels, T latent frames, H and W latent height and width, L text tokens, D embedding width


class Hint(NamedTuple):
    """One control of a chunk.

    latents_BCTHW: the control video, encoded.
    weight: a number, or a map over latent frames and patches, (B or 1, 1, T, H/2, W/2).
    """

    branch: ControlBranch
    latents_BCTHW: Tensor
    weight: float | Tensor


class _Prepared(NamedTuple):
    """What a branch computes once for all steps; texts are those of the prompt and of the negative prompt."""

    branch: ControlBranch
    weight: float | Tensor
    guided_hint: Tensor
    texts: tuple[EncodedText, EncodedText | None]
    rope: RotaryTable
    positions: Tensor | None


class ControlledDenoiser:
    """x0 at a noise level under control, with classifier-free guidance over the text.

    The control signal, its weights and the given frames are the same with the prompt and with the negative prompt.

    Args:
        hints: the controls, in the order of the specification, in the network's dtype.
        text_BLD: embedding of the prompt, in the network's dtype; `negative_BLD` of what to guide away from.
        fps: frame rate that the network is told.
        conditioning: given latent frames; None if none is given.
        noise_BCTHW: standard normal noise for the given frames.
        dtype: of the network.
    Source: cosmos-transfer1, diffusion/model/model_ctrl.py (behaviour).
    """

    def __init__(
        self,
        base: GeneralDiT,
        hints: Sequence[Hint],
        text_BLD: Tensor,
        negative_BLD: Tensor,
        *,
        guidance: float,
        fps: float,
        conditioning: Conditioning | None = None,
        noise_BCTHW: Tensor | None = None,
        dtype: torch.dtype,
    ) -> None:
        self._base, self._dtype, self._guidance = base, dtype, guidance
        self._conditioning, self._noise = conditioning, noise_BCTHW
        _, _, T, H, W = hints[0].latents_BCTHW.shape
        _, patch_h, patch_w = base.config.patch_THW
        self._grid = (T, H // patch_h, W // patch_w)
        self._fps = fps
        self._rope = base.rotary_table(self._grid, fps=fps)
        self._positions = base.position_embedding(self._grid)
        self._text = base.encode_text(text_BLD)
        self._negative = base.encode_text(negative_BLD) if guidance else None
        self._branches = [self._prepare(hint, text_BLD, negative_BLD) for hint in hints if self._takes_part(hint)]
        self._mask: Tensor | None = None
        if base.config.condition_mask:
            self._mask = hints[0].latents_BCTHW.new_zeros(1, 1, T, H, W)
            if conditioning is not None:
                self._mask = conditioning.mask_B1T11.expand(-1, -1, -1, H, W).to(dtype)

    @staticmethod
    def _takes_part(hint: Hint) -> bool:
        return bool(hint.weight.any()) if isinstance(hint.weight, Tensor) else hint.weight != 0

    def _prepare(self, hint: Hint, text_BLD: Tensor, negative_BLD: Tensor) -> _Prepared:
        branch = hint.branch
        return _Prepared(
            branch,
            hint.weight,
            branch.encode_hint(hint.latents_BCTHW),
            (branch.encode_text(text_BLD), branch.encode_text(negative_BLD) if self._guidance else None),
            branch.rotary_table(self._grid, fps=self._fps),
            branch.position_embedding(self._grid),
        )

    def __call__(self, x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        """x0 at noise level sigma, in the network's dtype; without guidance the networks run once instead of twice."""
        x0 = self._x0(x_BCTHW, sigma, self._text, negative=False)
        if self._negative is None:
            return x0
        return guide(x0, self._x0(x_BCTHW, sigma, self._negative, negative=True), self._guidance)

    def _x0(self, x_BCTHW: Tensor, sigma: Tensor, text: EncodedText, *, negative: bool) -> Tensor:
        def network(x: Tensor, c_noise: Tensor) -> Tensor:
            timesteps_B = c_noise.expand(x.shape[0])
            return self._base(
                x,
                timesteps_B,
                text,
                condition_mask_B1THW=self._mask,
                rope=self._rope,
                positions_THWD=self._positions,
                control_residuals=self._residuals(x, timesteps_B, negative),
            )

        return edm.denoise(network, x_BCTHW, sigma, self._conditioning, self._noise, dtype=self._dtype)

    def _residuals(self, x_BCTHW: Tensor, timesteps_B: Tensor, negative: bool) -> Iterator[Tensor]:
        return sum_residuals(
            (
                p.weight,
                p.branch.residuals(
                    x_BCTHW,
                    timesteps_B,
                    p.texts[negative],  # type: ignore[arg-type]  # there is a negative text when it is asked for
                    p.guided_hint,
                    condition_mask_B1THW=self._mask if p.branch.config.condition_mask else None,
                    rope=p.rope,
                    positions_THWD=p.positions,
                ),
            )
            for p in self._branches
        )


class TiledDenoiser:
    """x0 of overlapping tiles, each denoised on its own, blended into one picture and cut again at every evaluation.

    Networks that take given frames always run this way, a single tile too: the blending then dims its first row and
    column a little (see `merge_tiles`) at every step, and the published results hold that.

    Args:
        tiles: a denoiser for each tile, row by row.
        height, width: of the whole, in latents.
    Source: cosmos-transfer1, diffusion/model/model_ctrl.py (behaviour).
    """

    def __init__(self, tiles: Sequence[ControlledDenoiser], height: int, width: int) -> None:
        self._tiles, self._height, self._width = tuple(tiles), height, width

    def __call__(self, x_NCTHW: Tensor, sigma: Tensor) -> Tensor:
        """x0 of all tiles; the state of the sampler holds them along the batch axis."""
        parts = [denoiser(x, sigma) for denoiser, x in zip(self._tiles, x_NCTHW.split(1), strict=True)]
        whole_1CTHW = merge_tiles(torch.stack(parts), self._height, self._width)
        return split_tiles(whole_1CTHW, *x_NCTHW.shape[-2:])[:, 0]
