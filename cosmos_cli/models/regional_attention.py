"""Attention to several texts at once: one for the whole video, and further ones for the regions that they describe."""

# B batch, L tokens, H heads, D head width; R regions, N all tokens of a video

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cosmos_cli.runtime.attention import attention

GLOBAL_SHARE = 0.5
"""What the text of the whole video counts in every token."""


@dataclass(frozen=True)
class TokenGroup:
    """All tokens that lie in the same regions, in at least one.

    regions: their numbers, in ascending order.
    tokens_G: numbers of the tokens, int64.
    """

    regions: tuple[int, ...]
    tokens_G: Tensor


@dataclass(frozen=True)
class TokenRegions:
    """Where the regions of a video lie."""

    num_tokens: int
    groups: tuple[TokenGroup, ...]

    @classmethod
    def from_masks(cls, masks_RN: Tensor, device: torch.device | None = None) -> TokenRegions:
        """Regions that overlap as they like, out of their masks, which are best in host memory: groups depend on them.

        Args:
            masks_RN: whether a token lies in a region, bool; tokens are ordered (frame, row, column).
            device: of the tokens; None is that of the masks.
        Raises:
            ValueError: these are not masks.
        """
        if masks_RN.ndim != 2 or masks_RN.dtype != torch.bool:
            raise ValueError(f"region masks are (regions, tokens) bool, not {tuple(masks_RN.shape)} {masks_RN.dtype}")
        combinations_KR, combination_N = masks_RN.T.unique(dim=0, return_inverse=True)
        groups = []
        for number, is_in_R in enumerate(combinations_KR):
            regions = tuple(is_in_R.nonzero()[:, 0].tolist())
            if regions:
                tokens_G = (combination_N == number).nonzero()[:, 0]
                groups.append(TokenGroup(regions, tokens_G if device is None else tokens_G.to(device)))
        return cls(masks_RN.shape[1], tuple(groups))


class RegionalKeysValues(tuple[Tensor, Tensor]):
    """Keys and values of the text of the whole video, as a pair, together with those of its regions.

    Whoever takes it for a plain pair of keys and values attends to the text of the whole video alone.
    """

    regions: tuple[tuple[Tensor, Tensor], ...]
    where: TokenRegions

    def __new__(
        cls, whole: tuple[Tensor, Tensor], regions: Sequence[tuple[Tensor, Tensor]], where: TokenRegions
    ) -> RegionalKeysValues:
        texts = super().__new__(cls, whole)
        texts.regions, texts.where = tuple(regions), where
        return texts


def regional_attention(q_BLHD: Tensor, texts: RegionalKeysValues, backend: str) -> Tensor:
    """Mean of attention to the text of the whole video and attention to the texts of the regions, (B, L, H, D).

    A token in several regions attends to their texts as to one long text; a token in none attends to the text of the
    whole video both times, which is to it alone. Tokens in the same regions are taken together, so there is no mask: no
    memory of tokens x texts is needed, nothing is computed to be thrown away, and every backend can do it.

    Raises:
        ValueError: the regions belong to a video of another number of tokens.
    Source: cosmos-transfer1, diffusion/module/attention.py (behaviour).
    """
    if q_BLHD.shape[1] != texts.where.num_tokens:
        raise ValueError(f"the regions mark {texts.where.num_tokens} tokens, the video has {q_BLHD.shape[1]}")
    out_BLHD = attention(q_BLHD, *texts, backend)
    for group in texts.where.groups:
        k, v = (torch.cat(parts, dim=1) for parts in zip(*(texts.regions[i] for i in group.regions), strict=True))
        regional_BGHD = attention(q_BLHD[:, group.tokens_G], k, v, backend)
        mixed_BGHD = regional_BGHD * (1 - GLOBAL_SHARE) + out_BLHD[:, group.tokens_G] * GLOBAL_SHARE
        out_BLHD = out_BLHD.index_copy(1, group.tokens_G, mixed_BGHD)
    return out_BLHD
