"""The guided prediction of one chunk: base network, control branches, and what is constant over its steps and tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from cosmos_cli.models.rope import GridTHW, RotaryTable
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

    @property
    def takes_part(self) -> bool:
        """Whether it weighs anything; a map may do so in one tile and not in another."""
        return bool(self.weight.any()) if isinstance(self.weight, Tensor) else self.weight != 0


class RegionTexts(NamedTuple):
    """Prompts for regions of the video.

    texts_BLD: their embeddings, in the network's dtype. masks_RN: which tokens lie in which region, bool.
    """

    texts_BLD: Sequence[Tensor]
    masks_RN: Tensor


class _NetworkInputs(NamedTuple):
    """What one network is handed at every step; texts are those of the prompt and of the negative prompt."""

    texts: tuple[EncodedText, EncodedText | None]
    rope: RotaryTable
    positions_THWD: Tensor | None
    views: dict[str, Tensor]

    @property
    def tables(self) -> dict[str, Any]:
        """All but the text, as arguments of the network."""
        return {"rope": self.rope, "positions_THWD": self.positions_THWD, **self.views}


@dataclass(frozen=True)
class SharedInputs:
    """What the networks read that is the same at every step and in every tile of a chunk; built once, by `of`.

    guidance: strength of classifier-free guidance; 0 is unguided, and there is no negative text.
    of_networks: of the base and of every branch that takes part in at least one tile.
    """

    base: GeneralDiT
    guidance: float
    of_networks: Mapping[GeneralDiTTrunk, _NetworkInputs]

    @classmethod
    def of(
        cls,
        base: GeneralDiT,
        hints: Iterable[Hint],
        size_THW: Sequence[int],
        text_BLD: Tensor,
        negative_BLD: Tensor,
        *,
        guidance: float,
        fps: float,
        view_indices_V: Tensor | None = None,
        regions: RegionTexts | None = None,
    ) -> SharedInputs:
        """Encode the texts and build the tables, each for every network that takes part.

        Args:
            hints: the controls of all tiles; there may be none.
            size_THW: latent frames, height and width of a tile.
            text_BLD: embedding of the prompt, in the network's dtype; `negative_BLD` of what to guide away from.
            fps: frame rate that the network is told.
            view_indices_V: for networks of several views, rows of their view tables; None counts from 0.
            regions: prompts that act in parts of the video, beside the prompt for all of it.
        """
        _, patch_h, patch_w = base.config.patch_THW
        T, H, W = size_THW
        grid = (T, H // patch_h, W // patch_w)

        def inputs_of(network: GeneralDiTTrunk) -> _NetworkInputs:
            text = _encode_text(network, text_BLD, regions, grid)
            negative = network.encode_text(negative_BLD) if guidance else None
            views = {}
            if isinstance(network, MultiViewTrunk):
                views["views_BEVT"] = network.encode_views(view_indices_V)
            return _NetworkInputs(
                (text, negative),
                network.rotary_table(grid, fps=fps),
                network.position_embedding(grid),
                views,
            )

        branches = dict.fromkeys(hint.branch for hint in hints if hint.takes_part)
        return cls(base, guidance, {network: inputs_of(network) for network in (base, *branches)})


def _encode_text(
    network: GeneralDiTTrunk, text_BLD: Tensor, regions: RegionTexts | None, grid_THW: GridTHW
) -> EncodedText:
    """The prompt with those of the regions, as one network reads them."""
    whole = network.encode_text(text_BLD)
    if regions is None:
        return whole
    texts = [network.encode_text(text) for text in regions.texts_BLD]
    return RegionalText.of(whole, texts, network.context.share_of_tokens(regions.masks_RN, grid_THW, dim=1))


class _Control(NamedTuple):
    """A hint that takes part, encoded once for all steps, and what its branch shares with other tiles."""

    branch: ControlBranch
    weight: float | Tensor
    guided_hint: Tensor
    inputs: _NetworkInputs


class ControlledDenoiser:
    """x0 at a noise level under control, with classifier-free guidance over the text, of one tile.

    The control signal, its weights and the given frames are the same with the prompt and with the negative prompt.

    Args:
        shared: built with the hints of this tile among others.
        hints: the controls, in the order of the specification, in the network's dtype. There may be none.
        conditioning: given latent frames; None if none is given.
        noise_BCTHW: standard normal noise for the given frames.
        sigma_augment: noise level of the given frames.
        dtype: of the network.
        guidance_group: two processes, of which one predicts with the prompt and the other with the negative prompt;
            None has this one do both.
    Source: cosmos-transfer1, diffusion/model/model_ctrl.py (behaviour).
    """

    def __init__(
        self,
        shared: SharedInputs,
        hints: Sequence[Hint],
        *,
        conditioning: Conditioning | None = None,
        noise_BCTHW: Tensor | None = None,
        sigma_augment: float = edm.SIGMA_AUGMENT,
        dtype: torch.dtype,
        guidance_group: ProcessGroup | None = None,
    ) -> None:
        self._base, self._inputs, self._guidance = shared.base, shared.of_networks[shared.base], shared.guidance
        self._dtype, self._guidance_group = dtype, guidance_group
        self._conditioning, self._noise, self._sigma_augment = conditioning, noise_BCTHW, sigma_augment
        self._controls = [
            _Control(
                hint.branch,
                hint.weight,
                hint.branch.encode_hint(hint.latents_BCTHW),
                shared.of_networks[hint.branch],
            )
            for hint in hints
            if hint.takes_part
        ]
        self._mask: Tensor | None = None
        if shared.base.config.condition_mask and conditioning is not None:
            size_HW = conditioning.latents_BCTHW.shape[3:]
            self._mask = conditioning.mask_B1T11.to(dtype).expand(-1, -1, -1, *size_HW)

    def __call__(self, x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        """x0 at noise level sigma, in the network's dtype; without guidance the networks run once instead of twice."""
        if not self._guidance:
            return self._x0(x_BCTHW, sigma, negative=False)
        predictions = in_halves(
            lambda: self._x0(x_BCTHW, sigma, negative=False),
            lambda: self._x0(x_BCTHW, sigma, negative=True),
            self._guidance_group,
        )
        return guide(*predictions, self._guidance)

    def _x0(self, x_BCTHW: Tensor, sigma: Tensor, *, negative: bool) -> Tensor:
        def network(x: Tensor, c_noise: Tensor) -> Tensor:
            timesteps_B = c_noise.expand(x.shape[0])
            return self._base(
                x,
                timesteps_B,
                self._inputs.texts[negative],
                condition_mask_B1THW=self._mask,
                **self._inputs.tables,
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
                control.weight,
                control.branch.residuals(
                    x_BCTHW,
                    timesteps_B,
                    control.inputs.texts[negative],  # type: ignore[arg-type]  # a negative text is there when asked for
                    control.guided_hint,
                    condition_mask_B1THW=self._mask if control.branch.config.condition_mask else None,
                    **control.inputs.tables,
                ),
            )
            for control in self._controls
        )
        return sum_residuals(controls, self._base.context)


class TiledDenoiser:
    """x0 of overlapping tiles, each denoised on its own, blended into one picture and cut again at every evaluation.

    Networks that take given frames always run this way, a single tile too: the blending then dims its first row and
    column a little (see `merge_tiles`) at every step, and the published results hold that.

    Args:
        tiles: a denoiser for each tile, row by row.
        height, width: of the whole, in latents.
        on_tile: called after each tile.
    Source: cosmos-transfer1, diffusion/model/model_ctrl.py (behaviour).
    """

    def __init__(
        self,
        tiles: Sequence[ControlledDenoiser],
        height: int,
        width: int,
        on_tile: Callable[[], None] = lambda: None,
    ) -> None:
        self._tiles, self._height, self._width, self._on_tile = tuple(tiles), height, width, on_tile

    def __call__(self, x_NCTHW: Tensor, sigma: Tensor) -> Tensor:
        """x0 of all tiles; the state of the sampler holds them along the batch axis."""
        parts = []
        for denoiser, x in zip(self._tiles, x_NCTHW.split(1), strict=True):
            parts.append(denoiser(x, sigma))
            self._on_tile()
        whole_1CTHW = merge_tiles(torch.stack(parts), self._height, self._width)
        return split_tiles(whole_1CTHW, *x_NCTHW.shape[-2:])[:, 0]
