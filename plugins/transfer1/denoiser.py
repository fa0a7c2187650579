"""The guided prediction of one chunk: base network, control branches, and what is constant over the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import EncodedText, GeneralDiT, GeneralDiTTrunk
from cosmos_cli.models.multiview_dit import MultiViewTrunk
from cosmos_cli.models.regional_text import RegionalText
from cosmos_cli.models.rope import RotaryTable
from cosmos_cli.runtime.workers.mesh import in_halves
from cosmos_plugins.transfer1.tiles import merge_tiles, split_tiles

# B batch, C latent channels, T latent frames, H and W latent height and width, L text tokens, D embedding width
# R regions, N tokens
# V views


class Hint(NamedTuple):
    """One control of a chunk.

    latents_BCTHW: the control video, encoded.
    weight: a number, or a map over latent frames and patches, (B or 1, 1, T, H/2, W/2).
    """

    branch: ControlBranch
    latents_BCTHW: Tensor
    weight: float | Tensor


class RegionTexts(NamedTuple):
    """Prompts for regions of the video.

    texts_BLD: their embeddings, in the network's dtype. masks_RN: which tokens lie in which region, bool.
    """

    texts_BLD: Sequence[Tensor]
    masks_RN: Tensor


class _Prepared(NamedTuple):
    """What a branch computes once for all steps; texts are those of the prompt and of the negative prompt."""

    branch: ControlBranch
    weight: float | Tensor
    guided_hint: Tensor
    texts: tuple[EncodedText, EncodedText | None]
    rope: RotaryTable
    positions: Tensor | None
    views: dict[str, Any]


class ControlledDenoiser:
    """x0 at a noise level under control, with classifier-free guidance over the text.

    The control signal, its weights and the given frames are the same with the prompt and with the negative prompt.

    Args:
        hints: the controls, in the order of the specification, in the network's dtype. There may be none where the
            noise is given.
        text_BLD: embedding of the prompt, in the network's dtype; `negative_BLD` of what to guide away from.
        fps: frame rate that the network is told.
        conditioning: given latent frames; None if none is given.
        noise_BCTHW: standard normal noise for the given frames.
        sigma_augment: noise level of the given frames.
        view_indices_V: for networks of several views, rows of their view tables; None counts from 0.
        dtype: of the network.
        regions: prompts that act in parts of the video, beside the prompt for all of it.
        guidance_group: two processes, of which one predicts with the prompt and the other with the negative prompt;
            None has this one do both.
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
        sigma_augment: float = edm.SIGMA_AUGMENT,
        view_indices_V: Tensor | None = None,
        dtype: torch.dtype,
        regions: RegionTexts | None = None,
        guidance_group: ProcessGroup | None = None,
    ) -> None:
        self._guidance_group = guidance_group
        self._base, self._dtype, self._guidance = base, dtype, guidance
        self._conditioning, self._noise, self._sigma_augment = conditioning, noise_BCTHW, sigma_augment
        self._view_indices = view_indices_V
        like = hints[0].latents_BCTHW if hints else noise_BCTHW
        assert like is not None
        _, _, T, H, W = like.shape
        _, patch_h, patch_w = base.config.patch_THW
        self._grid = (T, H // patch_h, W // patch_w)
        self._fps = fps
        self._rope = base.rotary_table(self._grid, fps=fps)
        self._positions = base.position_embedding(self._grid)
        self._views = self._describe_views(base)
        self._regions = regions
        self._text = self._encode_text(base, text_BLD)
        self._negative = base.encode_text(negative_BLD) if guidance else None
        self._branches = [self._prepare(hint, text_BLD, negative_BLD) for hint in hints if self._takes_part(hint)]
        self._mask: Tensor | None = None
        if base.config.condition_mask:
            self._mask = like.new_zeros(1, 1, T, H, W, dtype=dtype)
            if conditioning is not None:
                self._mask = conditioning.mask_B1T11.expand(-1, -1, -1, H, W).to(dtype)

    @staticmethod
    def _takes_part(hint: Hint) -> bool:
        return bool(hint.weight.any()) if isinstance(hint.weight, Tensor) else hint.weight != 0

    def _describe_views(self, network: GeneralDiTTrunk) -> dict[str, Any]:
        if not isinstance(network, MultiViewTrunk):
            return {}
        return {"views_BEVT": network.encode_views(self._view_indices)}

    def _prepare(self, hint: Hint, text_BLD: Tensor, negative_BLD: Tensor) -> _Prepared:
        branch = hint.branch
        return _Prepared(
            branch,
            hint.weight,
            branch.encode_hint(hint.latents_BCTHW),
            (self._encode_text(branch, text_BLD), branch.encode_text(negative_BLD) if self._guidance else None),
            branch.rotary_table(self._grid, fps=self._fps),
            branch.position_embedding(self._grid),
            self._describe_views(branch),
        )

    def _encode_text(self, network: GeneralDiTTrunk, text_BLD: Tensor) -> EncodedText:
        """The prompt with those of the regions, as one network reads them."""
        whole = network.encode_text(text_BLD)
        if self._regions is None:
            return whole
        texts = [network.encode_text(text) for text in self._regions.texts_BLD]
        masks_RN = network.context.share_of_tokens(self._regions.masks_RN, self._grid, dim=1)
        return RegionalText.of(whole, texts, masks_RN)

    def __call__(self, x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        """x0 at noise level sigma, in the network's dtype; without guidance the networks run once instead of twice."""
        negative = self._negative
        if negative is None:
            return self._x0(x_BCTHW, sigma, self._text, negative=False)
        predictions = in_halves(
            lambda: self._x0(x_BCTHW, sigma, self._text, negative=False),
            lambda: self._x0(x_BCTHW, sigma, negative, negative=True),
            self._guidance_group,
        )
        return guide(*predictions, self._guidance)

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
                **self._views,
                control_residuals=self._residuals(x, timesteps_B, negative),
            )

        return edm.denoise(
            network,
            x_BCTHW,
            sigma,
            self._conditioning,
            self._noise,
            dtype=self._dtype,
            sigma_augment=self._sigma_augment,
        )

    def _residuals(self, x_BCTHW: Tensor, timesteps_B: Tensor, negative: bool) -> Iterator[Tensor]:
        controls = (
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
                    **p.views,
                ),
            )
            for p in self._branches
        )
        return sum_residuals(controls, self._base.context)


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
