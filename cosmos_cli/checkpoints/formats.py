"""In which shapes published files load: what families say of their files, and how that reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cosmos_cli.checkpoints.catalogue import (
    BLOCKLIST,
    CONTENT_CLASSIFIER,
    COSMOS_GUARDRAIL,
    FACE_DETECTOR,
    LLAMA_GUARD,
    SIGLIP,
    T5_11B,
    VIDEO_TOKENIZER,
)
from cosmos_cli.checkpoints.keys import AVERAGED, SHELLS, Naming

STAND_INS = "tests/plugins/test_published_files.py"
"""Loads a stand-in of every file that says nothing else, in every shape that it accepts."""


@dataclass(frozen=True)
class Format:
    """A published file, or a folder that is read as a whole, and in which shapes it loads.

    file: under the checkpoint folder; ends in "/" if it is a folder.
    networks: what is filled from it, to how the file may name the weights.
    layout: in words, what else it may look like.
    test: what holds it to that, as pytest is told.
    """

    file: str
    networks: Mapping[str, Naming] = field(default_factory=dict)
    layout: str = ""
    test: str = STAND_INS

    def covers(self, file: str) -> bool:
        """Whether this says what a file under the checkpoint folder looks like."""
        return file.startswith(self.file) if self.file.endswith("/") else file == self.file

    @property
    def shapes(self) -> str:
        """What the file may look like, in words."""
        named = [f"{name}: {_in_words(naming)}" for name, naming in self.networks.items()]
        if len(self.networks) == 1:
            named = [_in_words(naming) for naming in self.networks.values()]
        return "; ".join([*named, *filter(None, [self.layout])])


RULES = (
    "A file of weights may be written by torch.save or safetensors, be a set of shards, or a folder of "
    "torch.distributed.checkpoint.",
    "Of several prefixes or wrappers in one file the first in the list counts.",
    f"Names may have {', '.join(f'{shell}.' for shell in SHELLS)} anywhere in them.",
    "Keys outside of the network are ignored with a note. Keys that are missing or of another shape, and keys inside "
    "of the network that it does not have, are errors.",
)
"""What holds for every file that a network is filled from."""

HELPERS = (
    Format(
        f"{VIDEO_TOKENIZER.name}/autoencoder.jit",
        layout="TorchScript whose program is not run, or instead of it encoder.jit and decoder.jit, or model.pt with "
        "network.* or bare names, alone or in a wrapper",
    ),
    Format(f"{VIDEO_TOKENIZER.name}/mean_std.pt", layout="a pair of tensors, each channel after channel"),
    Format(
        f"{T5_11B.name}/",
        layout="as transformers writes it; weights in safetensors or pytorch_model.bin, here or in text_encoder/",
        test="tests/models/test_t5.py",
    ),
    Format(
        f"{COSMOS_GUARDRAIL.name}/{BLOCKLIST}/",
        layout="text files of words",
        test="tests/guardrails/test_blocklist.py",
    ),
    Format(
        f"{COSMOS_GUARDRAIL.name}/{CONTENT_CLASSIFIER.path}",
        layout="network.* or bare names, alone or in a wrapper",
        test="tests/guardrails/test_content_filter.py",
    ),
    Format(
        f"{COSMOS_GUARDRAIL.name}/{FACE_DETECTOR.path}",
        layout="bare names or module.*, alone or in a wrapper",
        test="tests/guardrails/test_face_blur.py",
    ),
    Format(
        f"{LLAMA_GUARD.name}/", layout="as transformers writes it, in shards", test="tests/guardrails/test_published.py"
    ),
    Format(
        f"{SIGLIP.name}/",
        layout="as transformers writes it, here or where the Hub's client keeps it for the originals",
        test="tests/guardrails/test_published.py",
    ),
)
"""Of what several families read beside their own networks."""


def _in_words(naming: Naming) -> str:
    if not naming.is_averaged:
        return f"{_names(naming.prefixes)}, alone or in {_either(naming.wrappers)}"
    prefixes, _ = naming.prefixes_in(None)
    return f"{_names(prefixes)}, or in {AVERAGED} {_names(naming.prefixes)}"


def _names(prefixes: Iterable[str]) -> str:
    return _either([f"{prefix}*" if prefix else "bare names" for prefix in prefixes])


def _either(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
