"""A text for the whole video and further texts for regions of it, as a network reads them."""

# R regions, N tokens

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cosmos_cli.models.dit_layers import EncodedText
from cosmos_cli.models.regional_attention import RegionalKeysValues, TokenRegions


@dataclass(frozen=True)
class RegionalText(EncodedText):
    """What a network takes wherever it takes an `EncodedText`; built once per generation, by `RegionalText.of`."""

    keys_values: tuple[RegionalKeysValues, ...]

    @classmethod
    def of(cls, whole: EncodedText, regions: Sequence[EncodedText], masks_RN: Tensor) -> RegionalText:
        """A text for the whole video, and a text for each of its regions.

        The order of the regions does not matter, as long as texts and masks have the same.

        Args:
            whole: the network's `encode_text` of the text for the whole video.
            regions: its `encode_text` of the text for each region, in any length.
            masks_RN: whether a token lies in a region, bool, best in host memory; tokens are ordered
                (frame, row, column). For a network that holds a share of the tokens, those of its share
                (`ContextParallel.share_of_tokens`).
        Raises:
            ValueError: there are not as many masks as texts, or they are not masks.
        """
        if len(regions) != len(masks_RN):
            raise ValueError(f"{len(regions)} texts for regions do not go with {len(masks_RN)} masks")
        where = TokenRegions.from_masks(masks_RN, whole.keys_values[0][0].device)
        of_blocks = zip(*(text.keys_values for text in (whole, *regions)), strict=True)
        return cls(tuple(RegionalKeysValues(first, rest, where) for first, *rest in of_blocks))
