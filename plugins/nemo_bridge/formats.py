"""In which shapes the files of the Cosmos-1.0 diffusion models load, published ones and those of trainings."""

from __future__ import annotations

from cosmos_cli.checkpoints.catalogue import DATA_SETS
from cosmos_cli.checkpoints.formats import STAND_INS, Format
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_plugins.nemo_bridge.checkpoints import MODELS, NEMO_MODELS, TOKENIZER

DIT = PUBLISHED
"""A network, in files of a training too: its head of the loss is left alone."""

_STORES = "tests/plugins/nemo_bridge/test_weights.py"
_TOKENIZERS = f"{STAND_INS}::test_the_tokenizer_of_transfer_may_be_in_halves_or_in_a_file_of_weights"

FORMATS = (
    *(Format(f"{model.name}/{file.path}", {"DiT": DIT}) for model in MODELS.values() for file in model.files),
    *(
        Format(
            f"{model.name}/{file.path}",
            layout="NeMo's distributed checkpoint, zarr or torch_dist, whatever the number of ranks that wrote it",
            test=_STORES,
        )
        for model in NEMO_MODELS.values()
        for file in model.files
    ),
    Format(
        f"{TOKENIZER.name}/",
        layout="TorchScript whose program is not run, in halves or as autoencoder.jit, and mean_std.pt, a pair of "
        "tensors, each channel after channel",
        test=_TOKENIZERS,
    ),
    *(
        Format(f"{data.name}/{file.path}", layout="videos of any kind", test="tests/media/test_video.py")
        for data in DATA_SETS
        for file in data.files
    ),
)
"""Of every published file, besides those that other families read, too."""
