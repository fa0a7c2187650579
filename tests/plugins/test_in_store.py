"""Every kind reads its inputs out of an object store and writes into one, byte for byte what it makes of files here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli.media.image import write_png
from cosmos_cli.testing import CommandResult
from tests.clips import encode, moving_gradient
from tests.plugins.predict1_multiview.conftest import six_views
from tests.stores import empty_store

Cosmos = Callable[..., CommandResult]

BUCKET = "memory://bucket"
TINY = ("--model", "tiny", "--device", "cpu", "--num-steps", 1)
UNGUIDED = (*TINY, "--guidance", 0)
PROMPT = ("--prompt", "A street.")
SMALL = ("--height", 32, "--width", 32)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Any]:
    """An empty store of this process."""
    with empty_store(tmp_path / "copies") as files:
        yield files


def picture() -> None:
    write_png(Path("in/street 1#.png"), moving_gradient(1, 90, 160)[0])


def clip() -> None:
    encode(Path("in/clip.mp4"), moving_gradient(9, 72, 96))


def robot() -> None:
    clip()
    random = np.random.default_rng(0)
    np.save("in/actions.npy", random.standard_normal((12, 7)) * 0.05)


def cameras() -> None:
    for view in range(2):
        encode(Path(f"in/cameras/{view}.mp4"), moving_gradient(6, 48, 80))


def controls() -> None:
    clip()
    encode(Path("in/edges.mp4"), moving_gradient(9, 72, 96))
    np.save("in/weights.npy", np.full((9, 72, 96), 0.5, np.float32))
    edge = {"control_weight": "weights.npy", "input_control": "edges.mp4"}
    spec = {"prompt": "A street.", "input_video_path": "clip.mp4", "edge": edge}
    Path("in/spec.json").write_text(json.dumps(spec))


def car() -> None:
    for number in range(6):
        encode(Path(f"in/map{number}.mp4"), np.roll(moving_gradient(57, 36, 64), 7 * number, axis=2))
    encode(Path("in/front.mp4"), moving_gradient(57, 36, 64))
    hdmap = {"control_weight": 1, "input_control": [f"map{number}.mp4" for number in range(6)]}
    Path("in/spec.json").write_text(json.dumps({"hdmap": hdmap, "view_condition_video": "front.mp4"}))


def views() -> None:
    six_views("in/views.mp4", 9)


KINDS: dict[str, tuple[Callable[[], None], tuple[Any, ...], tuple[Any, ...]]] = {
    # what it reads, the command, and where that writes
    "video2world": (
        picture,
        ("predict2", "video2world", *TINY, *PROMPT, "--num-frames", 5, "--input-path", "IN/street 1#.png", "--preview"),
        ("--save-path", "OUT/a b#?%20é.mp4"),
    ),
    "text2image": (clip, ("predict2", "text2image", *TINY, *PROMPT), ("--save-path", "OUT/a.jpg")),
    "text2world": (clip, ("predict2", "text2world", *TINY, *PROMPT, "--preview"), ("--save-path", "OUT/a.mp4")),
    "action": (
        robot,
        (
            *("predict2", "action", *TINY, "--input-video", "IN/clip.mp4", "--actions", "IN/actions.npy"),
            *("--autoregressive",),
        ),
        ("--save-path", "OUT/a.mp4"),
    ),
    "multiview": (
        cameras,
        ("predict2", "multiview", *UNGUIDED, *PROMPT, "--n-views", 2, "--input-path", "IN/cameras", "--preview"),
        ("--save-path", "OUT/a.mp4"),
    ),
    "transfer": (
        controls,
        ("transfer", "run", *UNGUIDED, "--controlnet-specs", "IN/spec.json", "--preview"),
        ("--video-save-folder", "OUT/sub"),
    ),
    "transfer-multiview": (
        car,
        ("transfer", "multiview", *UNGUIDED, "--controlnet-specs", "IN/spec.json", "--preview"),
        ("--video-save-folder", "OUT"),
    ),
    "annotate": (
        clip,
        ("transfer", "annotate", "--input-video-path", "IN/clip.mp4", "--edge", 0.5, "--vis", 0.5),
        ("--video-save-folder", "OUT"),
    ),
    "predict1": (
        picture,
        (
            *("predict1", "video2world", *UNGUIDED, *PROMPT, "--num-input-frames", 1, "--preview"),
            *("--input-image-or-video-path", "IN/street 1#.png"),
        ),
        ("--video-save-folder", "OUT"),
    ),
    "predict1-multiview": (
        views,
        (
            *("predict1-multiview", "run", *UNGUIDED, *PROMPT, *SMALL, "--preview"),
            *("--input-image-or-video-path", "IN/views.mp4", "--num-input-frames", 9),
        ),
        ("--video-save-folder", "OUT"),
    ),
    "nemo": (
        clip,
        (
            *("nemo", "run", *UNGUIDED, *PROMPT, *SMALL, "--num-input-frames", 9, "--preview"),
            *("--conditioned-image-or-video-path", "IN/clip.mp4"),
        ),
        ("--video-save-path", "OUT/a.mp4"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_makes_the_same_files_there_as_here(memory: Any, cosmos: Cosmos, kind: str) -> None:
    Path("in/cameras").mkdir(parents=True)
    make_inputs, asked, written = KINDS[kind]
    make_inputs()
    for file in (file for file in Path("in").rglob("*") if file.is_file()):
        memory.pipe_file(f"/bucket/{file}", file.read_bytes())

    def run(folder: str) -> CommandResult:
        words = [str(word) for word in (*asked, *written)]
        words = [word.replace("IN/", f"{folder}in/").replace("OUT", f"{folder}out") for word in words]
        result = cosmos(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return result

    run("")
    there = run(f"{BUCKET}/")
    made = {name.removeprefix("/bucket/out/"): memory.cat(name) for name in memory.store if "/out/" in name}
    here = {str(file.relative_to("out")): file.read_bytes() for file in Path("out").rglob("*") if file.is_file()}
    assert made.keys() == here.keys()
    assert len(made) >= 2
    sidecars = [name for name in made if name.endswith(".json")]
    assert {name: made[name] for name in made if name not in sidecars} == {
        name: here[name] for name in here if name not in sidecars
    }
    for name in sidecars:
        kept, own = json.loads(made[name]), json.loads(here[name])
        assert kept.keys() == own.keys()
        assert {key for key in kept if key.endswith("sha256") and kept[key] != own[key]} == set()
        assert BUCKET in json.dumps(kept)
    assert BUCKET in json.dumps(there.json)


def test_what_must_lie_here_refuses_an_address(cosmos: Cosmos) -> None:
    picture = ("--input-path", f"{BUCKET}/a.png", *PROMPT)
    for line in (
        ("transfer", "guided", "--source-data-dir", BUCKET, "--output-data-dir", "out"),
        ("transfer", "guided", "--source-data-dir", "in", "--output-data-dir", BUCKET),
        ("predict2", "best-of-n", *picture, "--save-path", f"{BUCKET}/best"),
        ("predict2", "critic", f"{BUCKET}/a.mp4"),
        ("predict2", "video2world", *picture, "--lora-path", f"{BUCKET}/lora.pt"),
        ("nemo", "run", *PROMPT, "--nemo-checkpoint", f"{BUCKET}/nemo"),
    ):
        refused = cosmos(*line)
        assert refused.exit_code == 2, line
        assert "must be a path on this machine" in " ".join(refused.stderr.split()), line
