"""A family whose files a Hub on loopback has, and that Hub: what tests of downloads share."""

from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from cosmos_cli.testing import CommandResult
from tests.hub_server import Hub, serving
from tests.third_party import COSMOS, write_distribution

Cosmos = Callable[..., CommandResult]

BASE, EDGE, CONFIG, TEXT = (
    "acme/world/base.pt",
    "acme/world/edge.pt",
    "acme/world/sub/config.json",
    "acme/text/model.bin",
)
FILES = {
    BASE: random.Random(1).randbytes(3_000_000),
    EDGE: random.Random(2).randbytes(700_000),
    CONFIG: b'{"width": 8}\n',
    TEXT: random.Random(3).randbytes(400_000),
    "acme/world/not-needed.h5": b"anything",
}
LISTS_OF_WORDS = {
    "acme/lists/words/a.txt": b"one\n",
    "acme/lists/words/more/b.txt": b"two\n",
    "acme/lists/words/more/c.bin": random.Random(4).randbytes(200_000),
}
PARTS = {
    "acme/parts/need.bin": random.Random(5).randbytes(30_000),
    "acme/parts/extra.json": b"{}\n",
    "acme/parts/fast.bin": random.Random(6).randbytes(20_000),
    "acme/parts/new.bin": random.Random(7).randbytes(10_000),
    "acme/parts/notes/a.txt": b"one\n",
}
NEEDED = {path: FILES[path] for path in (BASE, EDGE, CONFIG, TEXT)}
"""What the model `big` needs."""
NEED, EXTRA, FAST, NEW, NOTES = PARTS
CLIPS = {f"datasets/acme/clips/videos/{i}.mp4": random.Random(i).randbytes(50_000) for i in range(3)}

PLUGIN = """
import typer
from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_cli.hookspecs import hookimpl

app = typer.Typer()

@app.command()
def run() -> None:
    pass

def files(**sizes):
    return tuple(PublishedFile(path.replace("__", "/").replace("_", "."), size) for path, size in sizes.items())

TEXT = Repository("acme/text", "main", files(model_bin=400_000), "Text License", gated=True)
SEEN = Repository("acme/text", "main", files(model_bin=400_000), "Text License")
WORLD = Repository("acme/world", "v1", files(base_pt=3_000_000, edge_pt=700_000, sub__config_json=13), "World License")
LISTS = Repository("acme/lists", "v2", (PublishedFile("words/", 200_000),), "Lists License")
OF_EDGE = (SEEN,)
NEED = PublishedFile("need.bin", 30_000)
PARTS = Repository(
    "acme/parts",
    "v1",
    (
        NEED,
        PublishedFile("extra.json", 3, is_read_if_there=True),
        PublishedFile("fast.bin", 20_000, only_for="--fast"),
        PublishedFile("notes/", 4, is_read_if_there=True),
    ),
    "Parts License",
    note="parts are not the whole",
)
NEWER = Repository("acme/parts", "v2", (PublishedFile("new.bin", 10_000, only_for="--new"),), "Parts License")
COPY = Repository(
    "acme/parts", "v1", (NEED,), "Parts License", belongs_to="acme/text", other_forms=("model.bin", "model.txt")
)
CLIPS = Repository("acme/clips", "main", (PublishedFile("videos/", 150_000),), "Clips License", kind="dataset")
CATALOGUE = {"big": (WORLD, TEXT), "other": (SEEN,), "checked": (LISTS,), "clips": (CLIPS,)}
CATALOGUE |= {"parts": (PARTS, NEWER), "copy": (COPY,)}

@hookimpl
def cosmos_register_families(register):
    register(name="parcel", help="Is fetched.", commands="parcel:app", checkpoints="parcel:CATALOGUE")

@hookimpl
def cosmos_register_controls(register):
    register(name="parcel-edge", help="Lines.", checkpoint="acme/world/edge.pt", models="parcel:OF_EDGE")
    register(name="parcel-none", help="Nothing.", checkpoint="acme/world/none.pt")
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family whose files the Hub of these tests has."""
    folder = tmp_path / "packages"
    write_distribution(folder, "parcel", {"parcel": PLUGIN}, {"parcel": "parcel"})
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub, and this process and its children pointed to it."""
    everything = {**FILES, **LISTS_OF_WORDS, **CLIPS, **PARTS}
    large = {BASE, EDGE, TEXT, "acme/lists/words/more/c.bin", *CLIPS}
    with serving(Hub(everything, large=large, only_in={NEW: "v2"})) as running:
        environment = {"HF_ENDPOINT": running.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        # huggingface_hub reads its variables once, when it is imported
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf/token"))
        yield running


def start(packages: Path, *arguments: str, limit_bytes: int | None = None) -> subprocess.Popen[str]:
    """A download in a process of its own, which may be unable to write files larger than a limit."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    environment = {**os.environ, "PYTHONPATH": str(packages)}
    command = [str(COSMOS), "download", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, preexec_fn=limit, **pipes)


def files_in(root: Path) -> dict[str, bytes]:
    """Everything under a folder, hidden files too."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def parts(root: Path = Path("checkpoints")) -> list[str]:
    """What is there of files that are not complete."""
    return sorted(path for path in files_in(root) if path.endswith(".part"))
