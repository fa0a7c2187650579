"""T5 text encoding for the Cosmos families: prompts to the fixed 512 x D context of a DiT."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cosmos_cli.checkpoints.pretrained import load_model, reading
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.cache import Cache
from cosmos_cli.models.t5_files import find_encoder
from cosmos_cli.runtime.memory.limit import DeviceMemory
from cosmos_cli.runtime.memory.placement import Placement, loading_device
from cosmos_cli.runtime.memory.residence import RESIDENT, Residence
from cosmos_cli.runtime.workers.agreement import agree

# B batch, L text tokens, D embedding width

NUM_TOKENS = 512


class T5TextEncoder:
    """The encoder half of a T5 model, from a folder in the Hugging Face layout. Nothing is fetched or executed.

    Args:
        folder: holds config.json, the tokenizer files and the weights (safetensors or pytorch_model.bin), or these and
            their config.json in its folder `text_encoder`.
        dtype: in which it computes: float32 as in the originals, or bfloat16 for half the memory.
        device: where the weights are at first; texts are encoded where they are then.
        form: of the weights, where there are several, by the precision in which they are stored; see `find_encoder`.
    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those of this encoder.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device, form: str = "auto") -> None:
        # takes seconds to import, which runs whose texts are all known are spared
        from transformers import AutoTokenizer, T5EncoderModel

        files = find_encoder(folder, form)
        with reading(folder, "a T5 text encoder"):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        safetensors = None if files.weights is None else files.weights.name.startswith("model.safetensors")
        model = load_model(
            T5EncoderModel, files.weights_folder, "a T5 text encoder", dtype, use_safetensors=safetensors
        )
        self.model = model.to(device)

    @torch.no_grad()
    def encode(self, text: str) -> tuple[Tensor, int]:
        """The embedding of one text and the number of its tokens.

        Texts are cut at 512 tokens; positions past the end are zero.

        Returns:
            context_1LD, (1, 512, D) in the encoder's dtype on its device, and the token count before cutting.
        Source: cosmos-predict2, auxiliary/text_encoder.py (behaviour).
        """
        num_tokens = len(self._tokenizer(text, truncation=False)["input_ids"])
        tokens = self._tokenizer(
            text, truncation=True, padding="max_length", max_length=NUM_TOKENS, return_tensors="pt"
        ).to(self.model.device)
        hidden_1LD = self.model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state
        return hidden_1LD.masked_fill(tokens["attention_mask"][..., None] == 0, 0), num_tokens


def fingerprint(folder: Path, paths: Iterable[Path] | None = None) -> str:
    """A name for the model in `folder` that follows its content, not its place.

    Hashes the configuration and tokenizer whole, and of each weight file the size, the first and the last MiB: reading
    all of a 45 GB file to look up a cached embedding would defeat the cache.

    Args:
        paths: the files in it that the model is made of; by default all.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*") if paths is None else paths):
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode(errors="surrogateescape"))
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(size - (1 << 20), 0))
            digest.update(file.read(1 << 20))
    return digest.hexdigest()


class CachedTextEncoder:
    """Text embeddings kept on disk by text and model, so that a prompt seen before needs no encoder at all.

    Args:
        folder: of the T5 encoder.
        cache: of the embeddings.
        dtype: in which the encoder computes; part of an embedding's identity, as are the weights it is read from.
        device: where the encoder runs.
        form: of the weights, see `find_encoder`.
        residence: where its weights are while it does not work.
        memory: what counts the weights on the device.
        on_load: called once, when the encoder must be loaded after all.
    """

    def __init__(
        self,
        folder: Path,
        cache: Cache,
        *,
        dtype: torch.dtype,
        device: torch.device,
        form: str = "auto",
        residence: Residence = RESIDENT,
        memory: DeviceMemory | None = None,
        on_load: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._cache, self._dtype, self._device = folder, cache, dtype, device
        self._form, self.files = form, find_encoder(folder, form)
        self._residence, self._on_load = residence, on_load
        self._memory = memory or DeviceMemory()
        self._identity = f"{fingerprint(folder, self.files.paths())} {dtype} "
        self._encoder: tuple[T5TextEncoder, Placement] | None = None

    def document(self) -> dict[str, str]:
        """For a sidecar: which weights, in which precision they are stored, and in which texts are encoded."""
        return {
            "path": str(self.files.weights_folder.absolute()),
            "stored_in": self.files.stored,
            "computes_in": str(self._dtype).removeprefix("torch."),
        }

    def lower(self, residence: Residence) -> None:
        """Take a residence that needs less memory; not while the encoder works."""
        self._residence = residence
        if self._encoder is not None:
            self._encoder[1].lower(residence)

    @contextmanager
    def at_work(self, working_bytes: int = 0) -> Iterator[None]:
        """A block in which texts are encoded; the encoder itself comes to the device only for those it must read."""
        with self._memory.holding(working_bytes):
            yield

    def encode(self, text: str) -> tuple[Tensor, int]:
        """Like `T5TextEncoder.encode`, on the CPU. Of several processes one encodes, so that one loads the encoder."""
        return agree(lambda: self._encode(text), "encoding a text")

    def _encode(self, text: str) -> tuple[Tensor, int]:
        identity = self._identity + self._rounding + text
        kept = self._cache.get(identity)
        return (kept and _unpacked(kept)) or self._compute(text, identity)

    @property
    def _rounding(self) -> str:
        """What a GPU may do for speed now, where an embedding's last digits depend on it."""
        is_in_full = self._device.type == "cpu" or self._dtype != torch.float32
        return "" if is_in_full or not torch.backends.cuda.matmul.allow_tf32 else "TF32 "

    def _compute(self, text: str, identity: str) -> tuple[Tensor, int]:
        encoder, placement = self._encoder = self._encoder or self._load()
        with placement.at_work():
            context_1LD, num_tokens = encoder.encode(text)
        context_1LD = context_1LD.cpu()
        self._cache.put(identity, _packed(context_1LD, num_tokens))
        return context_1LD, num_tokens

    def _load(self) -> tuple[T5TextEncoder, Placement]:
        self._on_load()
        where = loading_device(self._residence, self._device)
        encoder = T5TextEncoder(self._folder, dtype=self._dtype, device=where, form=self._form)
        blocks = [encoder.model.encoder.block]
        return encoder, Placement([encoder.model], self._device, self._residence, self._memory, blocks=blocks)


def _packed(context_1LD: Tensor, num_tokens: int) -> bytes:
    kept_LD = context_1LD[0, : min(num_tokens, NUM_TOKENS)].contiguous()
    return save({"context": kept_LD, "num_tokens": torch.tensor(num_tokens)})


def _unpacked(content: bytes) -> tuple[Tensor, int] | None:
    try:
        stored = load(content)
        context_LD, num_tokens = stored["context"], int(stored["num_tokens"])
    except (SafetensorError, KeyError):
        return None  # another version packed it
    padded_1LD = context_LD.new_zeros(1, NUM_TOKENS, context_LD.shape[-1])
    padded_1LD[0, : len(context_LD)] = context_LD
    return padded_1LD, num_tokens


def check_encoder(folder: Path, form: str = "auto") -> None:
    """Raises CheckpointError: the folder holds no configuration of a T5 encoder, or not the form that is asked for."""
    from transformers import T5Config

    find_encoder(folder, form)
    try:
        T5Config.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise CheckpointError("holds no T5 text encoder.", where=str(folder), fix="Download it again.") from error
