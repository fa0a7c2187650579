"""Arrays on disk of which nothing stays behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.errors import CosmosError, DiskFull
from cosmos_cli.files.scratch import scratch_array


def test_an_array_lies_in_no_file_that_can_be_seen(tmp_path: Path) -> None:
    before = {*tmp_path.iterdir()}
    made = scratch_array((3, 2), np.uint16, tmp_path / "not/made/yet")
    assert made.shape == (3, 2) and made.dtype == np.uint16 and not made.any()
    made[1] = 7
    assert made.tolist() == [[0, 0], [7, 7], [0, 0]]
    assert {*tmp_path.iterdir()} == before


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_disk_that_reserves_nothing_serves_too(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _refusing(number))
    made = scratch_array((5,), np.uint8, tmp_path)
    made[:] = 1
    assert made.sum() == 5


def test_a_system_that_knows_no_reserving_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    assert scratch_array((5,), np.uint8, tmp_path).nbytes == 5


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, CosmosError)]
)
def test_what_the_system_refuses_is_told(
    number: int, kind: type[CosmosError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _refusing(number))
    with pytest.raises(kind, match="needs 5 bytes" if kind is DiskFull else "cannot be written"):
        scratch_array((5,), np.uint8, tmp_path)


def _refusing(number: int) -> Callable[[int, int, int], None]:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(number, os.strerror(number))

    return refuse
