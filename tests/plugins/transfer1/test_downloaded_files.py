"""What `cosmos download` fetches for a run, and what the run opens, are the same files."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cosmos_cli.checkpoints.catalogue import GUARDRAILS, T5_11B
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.guardrails.content_filter import FrameClassifier
from cosmos_cli.guardrails.published import CONTENT_CLASSIFIER, FACE_DETECTOR, IMAGE_ENCODER, LISTS, LLAMA_GUARD
from cosmos_cli.guardrails.retinaface import RetinaFace
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.variants import VARIANTS
from tests.clips import encode, moving_gradient
from tests.guardrails.stand_ins import (
    write_classifier,
    write_lists,
    write_llama_guard,
    write_retinaface,
    write_siglip,
)
from tests.helper_folders import publish_llama_guard

Cosmos = Callable[..., CommandResult]


class Opened:
    """Which files under a folder are opened by whomever, libraries in C too. Linux tells through inotify."""

    def __init__(self, root: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._queue = self._libc.inotify_init1(os.O_NONBLOCK)
        self._folders = {
            self._libc.inotify_add_watch(self._queue, os.fsencode(folder), 0x20): folder.relative_to(root)
            for folder in root.rglob("*")
            if folder.is_dir()
        }

    def files(self) -> set[str]:
        """The files that were opened so far; closes the queue."""
        found = set()
        events = os.read(self._queue, 1 << 20)
        os.close(self._queue)
        while events:
            watch, mask, _, length = struct.unpack_from("iIII", events)
            name = events[16 : 16 + length].rstrip(b"\0").decode()
            events = events[16 + length :]
            if name and not mask & 0x40000000:  # a folder that was listed
                found.add((self._folders[watch] / name).as_posix())
        return found


def test_an_edge_run_opens_exactly_the_files_that_are_fetched_for_it(
    cosmos: Cosmos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model of the published names and layout in the sizes of the tiny one."""
    document = cosmos("download", "transfer", "--controls", "edge", "--dry-run", "--json").json
    listed = {file["path"] for file in document["files"]}
    folders = tuple(path for path in listed if path.endswith("/"))
    published, tiny = VARIANTS["7B"], VARIANTS["tiny"]
    named = {"text_encoder": published.text_encoder, "annotators": published.annotators}
    monkeypatch.setitem(VARIANTS, "7B", replace(tiny, **named))
    write_guardrails(Path("checkpoints"))
    for path in listed:
        if not any(path.startswith(f"{repository.name}/") for repository in GUARDRAILS):
            stand_in(path, Path("checkpoints", path))
    root = Path("checkpoints")
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert {path for path in there if not path.startswith(folders)} | set(folders) == listed
    encode(tmp_path / "clip.mp4", moving_gradient(9, 72, 96), fps=30)
    Path("spec.json").write_text(json.dumps({"edge": {}, "input_video_path": str(tmp_path / "clip.mp4")}))
    opened = Opened(Path("checkpoints"))
    result = cosmos("transfer", "run", "--controlnet-specs", "spec.json", "--model", "7B", "--num-steps", 1)
    assert result.exit_code == 0, result.stderr
    found = opened.files()
    assert {path for path in found if not path.startswith(folders)} == listed - set(folders)
    assert all(any(path.startswith(folder) for path in found) for folder in folders)


def write_guardrails(root: Path) -> None:
    """Guardrails that let everything pass, in the published files and no others."""
    passing = FrameClassifier(32).state_dict()
    passing["layers.6.bias"][0] = 1000.0
    write_lists(root / LISTS)
    write_classifier(root / CONTENT_CLASSIFIER, passing)
    sees_nothing = RetinaFace()
    for weight in sees_nothing.parameters():
        torch.nn.init.zeros_(weight)
    write_retinaface(root / FACE_DETECTOR, sees_nothing)
    write_siglip(root / IMAGE_ENCODER)
    publish_llama_guard(write_llama_guard(root / LLAMA_GUARD, "safe"))


def stand_in(path: str, target: Path) -> None:
    """A file of the tiny model under the name of the published one."""
    source = TINY_ROOT / path.replace(T5_11B.name, VARIANTS["tiny"].text_encoder)
    if path.endswith("/"):  # that of the text encoder alone
        target.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(source.parent / name, target / name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
