"""In which shapes the files of Predict1 load, published ones and those of trainings."""

from __future__ import annotations

from cosmos_cli.checkpoints.formats import Format
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_plugins.predict1_multiview.checkpoints import MULTIVIEW_MODELS, PIXTRAL, SINGLE_VIEW_MODELS

DIT = PUBLISHED
"""A network, in files of a training too: its head of the loss is left alone."""

MULTIVIEW_FORMATS = tuple(
    Format(f"{model.name}/{file.path}", {"DiT": DIT}) for model in MULTIVIEW_MODELS.values() for file in model.files
)
"""Of every published file of the models for several cameras, besides those that other families read, too."""

SINGLE_VIEW_FORMATS = (
    *(
        Format(f"{model.name}/{file.path}", {"DiT": DIT})
        for model in SINGLE_VIEW_MODELS.values()
        for file in model.files
    ),
    Format(
        f"{PIXTRAL.name}/",
        layout="Mistral's own (params.json, consolidated.safetensors, tekken.json) or as transformers writes it",
        test="tests/plugins/predict1_multiview/single_view/test_upsampler.py",
    ),
)
"""Of every published file of the models for one camera, besides those that other families read, too."""
