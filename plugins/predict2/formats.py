"""In which shapes the files of Predict2 load, published ones and those of trainings."""

from __future__ import annotations

from cosmos_cli.checkpoints.formats import Format
from cosmos_cli.checkpoints.keys import PUBLISHED, Naming
from cosmos_plugins.predict2.checkpoints import CATALOGUE, REASON1

DIT = PUBLISHED
AVERAGED_DIT = PUBLISHED.averaged()
TOKENIZER = Naming()

_DIT = {"DiT": DIT, "with --load-ema": AVERAGED_DIT}


def _formats_of(file: str) -> Format:
    return Format(file, {"tokenizer": TOKENIZER} if file.endswith("tokenizer.pth") else _DIT)


FORMATS = (
    *(
        _formats_of(file)
        for file in dict.fromkeys(
            f"{repository.name}/{file.path}"
            for repositories in CATALOGUE.values()
            for repository in repositories
            for file in repository.files
            if repository.name.startswith("nvidia/Cosmos-Predict2-")
        )
    ),
    Format(f"{REASON1.name}/", layout="as transformers writes it, in shards", test="tests/models/test_chat.py"),
)
"""Of every published file, besides those that other families read, too."""
