"""How strongly a LoRA acts on each layer, which its weights do not tell: peft's `adapter_config.json`.

Source: peft 0.21, tuners/lora/config.py, tuners/lora/layer.py (scaling); Hu et al. 2021, arXiv:2106.09685; rslora of
Kalajdzievski 2023, arXiv:2312.03732.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json

ADAPTER_CONFIG = "adapter_config.json"

_SAVE_AGAIN = "Save the adapter again with peft."

# Each of these, when set, makes something else of an adapter than W + scale * B @ A.
_OTHER_KINDS = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "layer_replication",
    "fan_in_fan_out",
)
# Ways of initialising that change the layer below the adapter too, so that it does not fit the published one.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class LoraStrength:
    """How strongly a LoRA acts.

    alpha: of every layer; None is the layer's rank, which is a scale of 1.
    alpha_of: other values for layers whose dotted name is, or ends in, one of these.
    use_rslora: alpha is divided by the square root of the rank instead of the rank.
    """

    alpha: float | None = None
    alpha_of: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False

    def scale(self, layer: str, rank: int) -> float:
        """What B @ A is multiplied by in a layer."""
        special = next((alpha for ending, alpha in self.alpha_of.items() if f".{layer}".endswith(f".{ending}")), None)
        alpha = special if special is not None else self.alpha
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_strength(config: Path) -> LoraStrength:
    """The strength that an `adapter_config.json` tells.

    Raises:
        CheckpointError: it is malformed, or of an adapter that is no plain LoRA.
    """
    entries = read_json(config, kind=CheckpointError, fix=_SAVE_AGAIN)
    try:
        if not isinstance(entries, dict):
            raise ValueError(f"it holds a {type(entries).__name__}")
        _check_is_plain_lora(entries, config)
        alpha_of = {
            str(ending).removeprefix("^"): _alpha(value)
            for ending, value in (entries.get("alpha_pattern") or {}).items()
        }
        alpha = entries.get("lora_alpha")
        return LoraStrength(None if alpha is None else _alpha(alpha), alpha_of, bool(entries.get("use_rslora")))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{config.name} cannot be used: {error}.", where=str(config), fix=_SAVE_AGAIN) from error


def _alpha(value: Any) -> float:
    try:
        alpha = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        alpha = math.inf
    if not math.isfinite(alpha):
        raise ValueError(f"{reprlib.repr(value)} is not an alpha")
    return alpha


def _check_is_plain_lora(entries: Mapping[str, Any], config: Path) -> None:
    kind = str(entries.get("peft_type") or "LORA")
    start = str(entries.get("init_lora_weights"))
    unlike = [f"{name} is on" for name in _OTHER_KINDS if entries.get(name)]
    if kind.upper() != "LORA":
        unlike.append(f"its peft_type is {kind}")
    if start.lower().startswith(_CHANGES_BASE):
        unlike.append(f"{start} has changed the network below it")
    if unlike:
        raise CheckpointError(
            f"{config.name} is not of a plain LoRA: {', '.join(unlike)}.",
            where=str(config),
            fix="Merge it into the network with peft, save the whole network, and give that.",
        )
