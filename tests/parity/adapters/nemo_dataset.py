"""Data preparation against the original: the whole run on clips that hold the golden frames, with its stand-ins."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from cosmos_plugins.nemo_bridge.dataset.clips import find_clips
from cosmos_plugins.nemo_bridge.dataset.plan import Plan, Sample
from cosmos_plugins.nemo_bridge.dataset.prepare import Networks, prepare
from cosmos_plugins.nemo_bridge.dataset.record import Place
from tests.clips import encode
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden

NUM_STORED_ROWS = 40


class StandIn:
    """The tokenizer of the golden file: every eighth frame, averaged and projected."""

    def __init__(self, proj: Tensor) -> None:
        self._proj = proj

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        frames_FCHW = video_BCFHW[0, :, ::8].float().transpose(0, 1)
        averaged = F.avg_pool2d(frames_FCHW, 8)
        return torch.einsum("oc,fchw->ofhw", self._proj, averaged)[None].to(video_BCFHW.dtype)


def text_encoder(embedding: Tensor) -> Any:
    """That of the golden file: a row for each character."""

    def encode(text: str) -> tuple[Tensor, int]:
        context = torch.zeros(1, 512, 1024)
        rows = embedding[[ord(character) % len(embedding) for character in text]]
        context[0, : len(text), : embedding.shape[1]] = rows
        return context, len(text)

    return encode


def info_of(golden: Golden) -> dict[str, dict[str, Any]]:
    """The JSON files of the original, by name."""
    with safe_open(golden.path, "pt") as file:
        info: dict[str, dict[str, Any]] = json.loads(file.metadata()["info"])
    return info


def write_clips(golden: Golden, raw: Path) -> None:
    """The golden frames as videos, without loss."""
    raw.mkdir(parents=True)
    for name, frames in golden.inputs.items():
        if name.startswith("video."):
            clip = raw / f"{name.removeprefix('video.')}.mp4"
            encode(clip, frames.numpy(), codec="libx264rgb", pix_fmt="rgb24", fps=24, crf="0")


def prepared(golden: Golden, raw: Path, samples_folder: Path) -> Path:
    """A folder filled as the original's, with its choice of chunks, out of what `write_clips` wrote."""
    config = golden.config
    chunk_frames = config["pixel_chunk_duration"]
    clips, _ = find_clips(raw, config["prompt"], chunk_frames=chunk_frames, skips_bad=True)
    place_of = {clip.path.name: place for place, clip in enumerate(clips)}
    samples = [
        Sample(int(name.partition(".")[0]), place_of[info["video_path"]], info["start_frame"])
        for name, info in info_of(golden).items()
    ]
    place = Place(samples_folder)
    plan = Plan(place.folder, tuple(clips), tuple(samples), chunk_frames, config["height"], config["width"])
    given = golden.inputs
    networks = Networks(
        lambda: text_encoder(given["embedding"]), 1024, lambda: StandIn(given["proj"]), torch.device("cpu")
    )
    prepare(plan, place, networks)
    return place.folder


def dataset(golden: Golden) -> Outputs:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        write_clips(golden, raw)
        made = prepared(golden, raw, Path(folder, "samples"))
        found = {path.stem: torch.load(path, weights_only=True) for path in made.glob("*.pth")}
    ours: Outputs = {}
    for name, tensor in found.items():
        if name.endswith("t5_text_embeddings"):
            kept = tensor[:NUM_STORED_ROWS, : golden.inputs["embedding"].shape[1]]
            rest = tensor.float().abs().sum() - kept.float().abs().sum()
            parts = {"shape": torch.tensor(tensor.shape), "first40": kept, "abs_sum_rest": rest}
            ours |= {f"{name}.{part}": value for part, value in parts.items()}
        else:
            ours[name] = tensor
    return ours


ADAPTERS = {"nemo/prepare_dataset": Adapter(dataset)}
