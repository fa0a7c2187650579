"""Pickles of text embeddings: those of the originals are read, and nothing else is, let alone run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.training.data.embeddings import check_embedding, read_embedding, write_embedding

NUMBERS = np.random.default_rng(0).standard_normal((5, 8))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_arrays_of_every_protocol_are_read(tmp_path: Path, protocol: int, dtype: Any) -> None:
    path, array = tmp_path / "a.pickle", NUMBERS.astype(dtype)
    for content in ([array], array, (np.asfortranarray(array),)):
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        check_embedding(path, 8)
        text = read_embedding(path, 7, 8)
        assert np.array_equal(text[:5].numpy(), array.astype(np.float32))
        assert not text[5:].any()
        assert torch.equal(read_embedding(path, 2, 8), text[:2])
        assert read_embedding(path, None, 8).shape == (5, 8)


def test_what_is_written_is_read_and_is_a_list_of_one_float16_array(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.pickle"
    write_embedding(path, torch.from_numpy(NUMBERS))
    (array,) = pickle.loads(path.read_bytes())
    assert array.dtype == np.float16
    assert np.array_equal(read_embedding(path, 5, 8).numpy(), NUMBERS.astype(np.float16).astype(np.float32))


def test_the_check_reads_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.pickle"
    content = pickle.dumps([np.full((512, 1024), np.nan, np.float16)], protocol=4)
    path.write_bytes(content)
    check_embedding(path, 1024)  # the numbers are none, which reading finds
    with pytest.raises(InputError, match="not finite"):
        read_embedding(path, 512, 1024)
    path.write_bytes(content[:-10_000])
    with pytest.raises(InputError, match="damaged"):
        check_embedding(path, 1024)


class _Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([_Runs("touch ran")]),
        pickle.dumps([NUMBERS.astype(np.float16), _Runs("touch ran")], protocol=0),
        pickle.dumps(np.array([_Runs("touch ran")], dtype=object)),
        pickle.dumps([NUMBERS.astype(np.int64)]),
        pickle.dumps([[1.0, 2.0]]),
        pickle.dumps([]),
        pickle.dumps([NUMBERS[:0]]),
        pickle.dumps([NUMBERS[:, :3]]),
        pickle.dumps([np.float32(3)]),
        b"",
        b"no pickle",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",  # bytes without end
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",  # a frame without end
        b"cnumpy\nndarray\n}(S'__init__'\nNtb.",  # would change the stand-in
    ],
)
def test_what_is_no_embedding_is_refused_and_not_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pickle"
    path.write_bytes(content)
    for read in (lambda: read_embedding(path, 4, 8), lambda: check_embedding(path, 8)):
        with pytest.raises(InputError):
            read()
    assert not Path("ran").exists()
