"""In which shapes the files of the Cosmos-1.0 diffusion models load, published ones and those of trainings."""

from __future__ import annotations

from cosmos_cli.checkpoints.formats import Format
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_plugins.nemo_bridge.checkpoints import MODELS

DIT = PUBLISHED
"""A network, in files of a training too: its head of the loss is left alone."""

FORMATS = (*(Format(f"{model.name}/{file.path}", {"DiT": DIT}) for model in MODELS.values() for file in model.files),)
"""Of every published file."""
