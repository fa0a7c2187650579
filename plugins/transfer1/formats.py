"""In which shapes the files of Transfer1 load, published ones and those of trainings."""

from __future__ import annotations

from dataclasses import replace

from cosmos_cli.checkpoints.keys import PUBLISHED

# The originals begin with averaged weights where a file holds them beside the others; but a distilled file is
# taken out of `model`.
# Source: cosmos-transfer1, diffusion/model/model_ctrl.py, inference/world_generation_pipeline.py (behaviour).
_AVERAGED_FIRST = ("ema", "model", "module", "state_dict")

BASE = replace(PUBLISHED, prefixes=("base_model.net.", "net.", ""), wrappers=_AVERAGED_FIRST)
"""A base network: files of a whole model have it beside the control branch, those for driving scenes alone."""

BRANCH = replace(PUBLISHED, wrappers=_AVERAGED_FIRST)
"""A control branch; files of a training have the base beside it."""

DISTILLED_BASE = replace(PUBLISHED, prefixes=("net.base_model.net.",), known=(*PUBLISHED.known, "net.net_ctrl.*"))
DISTILLED_BRANCH = replace(PUBLISHED, prefixes=("net.net_ctrl.",), known=(*PUBLISHED.known, "net.base_model.*"))
"""Both are in one file."""
