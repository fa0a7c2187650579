"""Weights of any kind: files of torch.save old and new, safetensors, indices, LoRAs, folders of a training."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError
from tests.fuzz.judge import fuzz, in_bounds
from tests.fuzz.values import changed, dumped, mangled, odd

WEIGHTS = {"a.weight": torch.ones(4, 3), "b.bias": torch.zeros(2, dtype=torch.bfloat16)}
LORA = {"net.a.lora_A.weight": torch.ones(2, 3), "net.a.lora_B.weight": torch.ones(4, 2)}


@cache
def saved(*, legacy: bool, wrapped: bool) -> bytes:
    file = io.BytesIO()
    content = {"state_dict": WEIGHTS, "step": 3, "args": [{"lr": 1e-4}, (1, 2)]} if wrapped else WEIGHTS
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


@cache
def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(saved(legacy=False, wrapped=True))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(pickled: bytes, *, compressed: bool = False) -> bytes:
    """An archive of torch.save with another pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members().items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)
    return file.getvalue()


@cache
def steps() -> list[bytes]:
    """The pickle of weights, opcode by opcode."""
    [pickled] = [content for name, content in members().items() if name.endswith("data.pkl")]
    places = [place for _, _, place in pickletools.genops(pickled)] + [len(pickled)]
    return [pickled[begin:end] for begin, end in pairwise(places)]


_ODD_STEPS = (
    *(
        b"]",
        b")",
        b"}",
        b"(",
        b"0",
        b"2",
        b"1",
        b"a",
        b"s",
        b"u",
        b"e",
        b"t",
        b"l",
        b"d",
        b"R",
        b"b",
        b"\x81",
        b"Q",
        b".",
    ),
    *(b"\x85", b"\x86", b"\x87", b"\x88", b"\x89", b"N", b"q\x00", b"h\x00", b"h\x01", b"h\xff", b"r\xff\xff\xff\x7f"),
    *(
        b"J\xff\xff\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"K\x00",
        b"K\xff",
        b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
        b"M\xff\xff",
    ),
    *(
        b"\x8b\xff\xff\xff\x7f",
        b"X\xff\xff\xff\xff",
        b"X\x01\x00\x00\x00\xff",
        b"G\x7f\xf8" + bytes(6),
        b"I99\n",
        b"L9L\n",
    ),
    *(
        b"ccollections\nOrderedDict\n",
        b"cbuiltins\nset\n",
        b"cos\nsystem\n",
        b"ctorch\nSize\n",
        b"ctorch\nFloatStorage\n",
    ),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"cnumpy\nndarray\n"),
    *(
        b"ctorch._utils\n_rebuild_sparse_tensor\n",
        b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n",
        b"ctorch\ndevice\n",
    ),
    *(
        b"\x80\x02",
        b"\x80\x04",
        b"\x94",
        b"\x95" + b"\xff" * 8,
        b"Vmeta\n",
        b"S'a'\n",
        b"P0\n",
        b"2\x86",
        b"2\x86" * 60,
    ),
)


@st.composite
def pickles(draw: st.DrawFn) -> bytes:
    """A pickle of weights with some opcodes that are others, gone, or twice there."""
    parts = list(steps())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(parts) - 1))
        kind = draw(st.sampled_from(("insert", "replace", "remove", "repeat", "other")))
        if kind == "remove":
            del parts[at]
        elif kind == "repeat":
            parts[at] *= 2
        else:
            step = draw(st.sampled_from(_ODD_STEPS if kind != "other" else parts))
            parts[at : at + (kind != "insert")] = [step]
    return b"".join(parts)


@st.composite
def plain_objects(draw: st.DrawFn) -> bytes:
    """What a file holds in place of weights."""
    file = io.BytesIO()
    content = draw(st.one_of(odd, st.dictionaries(st.one_of(st.integers(), st.tuples(st.integers()), st.text()), odd)))
    torch.save({"model": content} if draw(st.booleans()) else content, file)
    return file.getvalue()


def in_stream(pickled: bytes) -> bytes:
    whole = saved(legacy=True, wrapped=True)
    file = io.BytesIO(whole)
    for _ in range(3):
        pickle.load(file)  # ours: numbers and names alone
    begin = file.tell()
    [*_, (_, _, last)] = pickletools.genops(whole[begin:])
    return whole[:begin] + pickled + whole[begin + last + 1 :]


_FILES = st.one_of(
    mangled(st.builds(lambda legacy, wrapped: saved(legacy=legacy, wrapped=wrapped), st.booleans(), st.booleans())),
    st.builds(lambda pickled, compressed: zipped(pickled, compressed=compressed), pickles(), st.booleans()),
    pickles().map(in_stream),
    plain_objects(),
)


def read_all(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        for key in checkpoint.keys():  # noqa: SIM118
            checkpoint.tensor(key).shape  # noqa: B018


@fuzz
@given(_FILES, st.sampled_from(("w.pt", "w.bin", "w.safetensors")))
def test_files_of_torch(content: bytes, name: str) -> None:
    path = Path(name)
    path.write_bytes(content)
    in_bounds(lambda: read_all(path), CheckpointError)


HEADERS = (
    {
        "a.weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]},
        "b.bias": {"dtype": "BF16", "shape": [2], "data_offsets": [48, 52]},
        "__metadata__": {"format": "pt"},
    },
)


@st.composite
def safetensors(draw: st.DrawFn) -> bytes:
    """A file whose header says odd things."""
    header = draw(
        mangled(changed(HEADERS, ("dtype", "shape", "data_offsets", "__metadata__")).map(dumped).map(str.encode))
    )
    length = draw(st.sampled_from((len(header), len(header), len(header), len(header) + 1, 0, 2**31, 2**63, 2**64 - 1)))
    return struct.pack("<Q", length) + header + bytes(draw(st.sampled_from((52, 52, 52, 51, 53, 0))))


@fuzz
@given(safetensors())
def test_safetensors(content: bytes) -> None:
    path = Path("w.safetensors")
    path.write_bytes(content)
    in_bounds(lambda: read_all(path), CheckpointError)


INDICES = (
    {"metadata": {"total_size": 52}, "weight_map": {"a.weight": "w-1.pt", "b.bias": "w-1.pt"}},
    {"weight_map": {"a.weight": "w-1.pt"}},
)


@fuzz
@given(mangled(changed(INDICES, ("weight_map", "metadata", "a.weight")).map(dumped).map(str.encode)))
def test_indices(content: bytes) -> None:
    folder = Path("shards")
    folder.mkdir(exist_ok=True)
    (folder / "w-1.pt").write_bytes(saved(legacy=False, wrapped=False))
    (folder / "w.index.json").write_bytes(content)
    in_bounds(lambda: read_all(folder), CheckpointError)


CONFIGS = (
    {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": False, "alpha_pattern": {"a": 2}},
    {"lora_alpha": 4.0, "target_modules": ["a"], "init_lora_weights": True},
)
OF_CONFIGS = (
    "lora_alpha",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "peft_type",
    "init_lora_weights",
    "rank_pattern",
    "r",
)


@st.composite
def loras(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Halves of a LoRA, of which one may be of another kind, shape or name."""
    tensors = dict(LORA)
    names = (*LORA, "a.weight", "net.a.lora_A.other.weight", "lora_A.weight", ".lora_B.weight", "")
    kinds = (torch.float32, torch.float16, torch.float64, torch.int8, torch.bool, torch.complex64)
    for _ in range(draw(st.integers(0, 2))):
        shape = draw(st.sampled_from([(2, 3), (4, 2), (4, 3), (0, 3), (2,), (), (2, 3, 1), (4, 0)]))
        value = torch.full(shape, draw(st.sampled_from((1.0, 0.0, float("inf"))))).to(draw(st.sampled_from(kinds)))
        tensors[draw(st.sampled_from(names))] = value
    return tensors


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 4, bias=False)


@fuzz
@given(
    loras(), mangled(changed(CONFIGS, OF_CONFIGS).map(dumped).map(str.encode)), st.sampled_from((None, None, 1.0, -3.5))
)
def test_loras(tensors: dict[str, torch.Tensor], config: bytes, alpha: float | None) -> None:
    folder = Path("lora")
    folder.mkdir(exist_ok=True)
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_bytes(config)
    in_bounds(lambda: merge_lora(Net(), folder, alpha=alpha), CheckpointError)
