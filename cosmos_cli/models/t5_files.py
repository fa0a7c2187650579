"""Where the weights of a T5 text encoder lie, and in which precision they are stored. Without torch.

That is another matter than the precision in which the encoder computes, which its weights are converted to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import T5_BFLOAT16, T5_FLOAT32, WHOLE_MODEL, download_command
from cosmos_cli.errors import CheckpointError, CosmosError
from cosmos_cli.files.documents import MAX_BYTES, parse_json, read_json

STORED_IN = {"bf16": "bfloat16", "fp32": "float32"}
"""What `--text-encoder` says to the precision of the weights that it means."""

_NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Of weights in one folder, in the order in which transformers looks for them."""

_SAFETENSORS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}


@dataclass(frozen=True)
class EncoderFiles:
    """What of a folder one encoder is made of.

    folder: holds the configuration and the tokenizer.
    weights: a file, or the index of several, with its own config.json beside it; None if there are none.
    stored: precision of the weights; "unknown" where that cannot be told.
    """

    folder: Path
    weights: Path | None
    stored: str

    @property
    def weights_folder(self) -> Path:
        return self.folder if self.weights is None else self.weights.parent

    def paths(self) -> list[Path]:
        """All files that decide what this encoder makes of a text; not those of another form in the same folder."""
        beside = [path for path in self.folder.iterdir() if path.is_file() and _describes(path)]
        if self.weights is None:
            return sorted(beside)
        described = [path for path in self.weights_folder.iterdir() if path.is_file() and _describes(path)]
        return sorted({*beside, *described, self.weights, *_shards(self.weights)})


def find_encoder(folder: Path, form: str = "auto") -> EncoderFiles:
    """The encoder in a folder.

    Args:
        folder: holds config.json, the tokenizer files and the weights, or these and their config.json in its folder
            `text_encoder`, or both.
        form: as `--text-encoder` names it; "auto" prefers the folder itself, which is the whole model.
    Raises:
        CheckpointError: there are no weights in the precision that was asked for, and how to get them.
    """
    found = list(_candidates(folder))
    if form == "auto":
        return found[0] if found else EncoderFiles(folder, None, "unknown")
    for each in found:
        if each.stored == STORED_IN[form]:
            return each
    there = ", ".join(f"{each.weights.relative_to(folder)} in {each.stored}" for each in found if each.weights)
    repository = T5_FLOAT32 if form == "fp32" else T5_BFLOAT16
    name = f"{repository.name}/{repository.files[0].path}"
    raise CheckpointError(
        f"has no weights of the text encoder in {STORED_IN[form]}; it holds {there or 'none at all'}.",
        where=str(folder),
        fix=f"{download_command([name], folder.parent.parent)}, or leave out --text-encoder {form}.",
    )


def _candidates(folder: Path) -> Iterator[EncoderFiles]:
    for place in (folder, folder / "text_encoder"):
        for name in _NAMES:
            if (place / name).is_file():
                yield EncoderFiles(folder, place / name, _stored_in(place / name))


def _describes(path: Path) -> bool:
    """Whether a file says what the weights and the tokens mean, as opposed to holding weights or being under way."""
    return path.suffix in (".json", ".model", ".txt") and path.name not in WHOLE_MODEL and path.name[0] != "."


def _shards(weights: Path) -> list[Path]:
    """The files that an index lists, as far as they are there; none for a single file."""
    if weights.suffix != ".json":
        return []
    try:
        names = set(read_json(weights)["weight_map"].values())
        return [weights.parent / name for name in names if (weights.parent / name).is_file()]
    except (CosmosError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return []  # whoever loads them says what is wrong


def _stored_in(weights: Path) -> str:
    files = [weights] if weights.suffix != ".json" else sorted(_shards(weights))
    if files and files[0].suffix == ".safetensors":
        return _stored_in_safetensors(files[0])
    # a pickle says it only to those who read it through; its configuration does, and a silent one means torch's default
    try:
        config = read_json(weights.parent / "config.json")
        return str(config.get("dtype") or config.get("torch_dtype") or "float32")
    except (CosmosError, AttributeError):
        return "unknown"


def _stored_in_safetensors(path: Path) -> str:
    """The precision that most numbers of the file have."""
    try:
        with path.open("rb") as file:
            num_bytes = int.from_bytes(file.read(8), "little")
            header = parse_json(file.read(num_bytes), where=str(path)) if num_bytes <= MAX_BYTES else {}
        sizes: dict[str, int] = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + end - begin
        return _SAFETENSORS.get(max(sizes, key=sizes.__getitem__), "unknown")
    except (CosmosError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return "unknown"
