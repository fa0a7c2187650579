from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from cosmos_cli import output
from cosmos_cli.batch import lease
from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import is_in_use, open_ledger
from cosmos_cli.errors import InputError
from cosmos_cli.files.locks import try_lock


def test_a_lock_keeps_another_out_until_the_file_is_closed(tmp_path: Path) -> None:
    output.configure(speaking=False)
    one = try_lock(tmp_path / "a")
    assert one is not None and one.is_real
    assert try_lock(tmp_path / "a") is None
    one.release()
    other = try_lock(tmp_path / "a")
    assert other is not None
    (tmp_path / "a").unlink()  # as who holds it may; the next has a file of its own
    assert try_lock(tmp_path / "a") is not None
    other.release()
    assert output.notices() == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESTALE])
def test_where_files_cannot_be_locked_a_batch_is_still_one_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    output.configure(speaking=False)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, seconds in (("_RENEW_S", 0.1), ("_PATIENCE_S", 0.5), ("_LOOK_S", 0.05), ("_SETTLE_S", 0.01)):
        monkeypatch.setattr(lease, name, seconds)
    for _ in range(2):
        with open_ledger(tmp_path / "ledger") as ledger:
            ledger.write(Entry("key", "name", "done"))
    with open_ledger(tmp_path / "ledger") as ledger:
        assert ledger["key"] is not None
        assert is_in_use(tmp_path / "ledger")
        with pytest.raises(InputError, match="another process works on this batch"), open_ledger(tmp_path / "ledger"):
            pass
    assert not is_in_use(tmp_path / "ledger")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["ledger"]
    assert output.notices() == []


def test_a_ledger_in_use_is_refused(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger"), pytest.raises(InputError), open_ledger(tmp_path / "ledger"):
        pass
