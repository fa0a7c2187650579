"""In which shapes the files of the Cosmos-1.0 diffusion models load, published ones and those of trainings."""

from __future__ import annotations

from cosmos_cli.checkpoints.formats import Format
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_plugins.nemo_bridge.checkpoints import MODELS, NEMO_MODELS, TOKENIZER

DIT = PUBLISHED
"""A network, in files of a training too: its head of the loss is left alone."""

_TEST = "tests/plugins/nemo_bridge/test_published.py"

FORMATS = (
    *(Format(f"{model.name}/{file.path}", {"DiT": DIT}) for model in MODELS.values() for file in model.files),
    *(
        Format(
            f"{model.name}/{file.path}",
            layout="NeMo's distributed checkpoint, zarr or torch_dist, whatever the number of ranks that wrote it",
            test=_TEST,
        )
        for model in NEMO_MODELS.values()
        for file in model.files
    ),
    Format(
        f"{TOKENIZER.name}/",
        layout="TorchScript whose program is not run, in halves or as autoencoder.jit, and mean_std.pt, a pair of "
        "tensors, each channel after channel",
        test=_TEST,
    ),
)
"""Of every published file, besides those that other families read, too."""
