"""Fixtures: every test runs in a folder of its own, with no settings of the user's, and may run `cosmos`."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # workers share the cores, and threads of one would wait for the others
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output
from cosmos_cli.testing import CommandResult, run_cosmos

GOLDEN = Path(__file__).parent / "golden"


for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(stop) is signal.SIG_IGN:
        # as under nohup or in the background: what tests start would ignore it too, but not what is caught here
        signal.signal(stop, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[None]:
    """What a test says of a name that is not UTF-8 would end the whole run on its way from a worker."""
    document = yield
    return _encodable(document)  # type: ignore[return-value]


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh working folder and cache; no `COSMOS_*` variables; plain, 80-column output; no notices of other tests."""
    output.configure(speaking=False)
    for name in [name for name in os.environ if name.startswith(("COSMOS_", "_COSMOS"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COSMOS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def cosmos() -> Callable[..., CommandResult]:
    """Run a command line in this process: `cosmos("plugins", "list", "--json").json`."""
    return run_cosmos


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Computing in this process rounds as in workers, which have one thread each."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def golden() -> Path:
    """Folder of the golden files."""
    return GOLDEN
