"""What `cosmos demo` shows of Predict2: a picture that goes on, and the best of three videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cosmos_cli.demo.part import Part, Shown
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import write_video
from cosmos_cli.worlds.finding import find, slides
from cosmos_cli.worlds.render import render
from cosmos_plugins.predict2.critic.files import score_of
from cosmos_plugins.predict2.variants import VARIANTS

_FPS = 16
_GIVEN = 5
"""Frames that begin a video which continues a clip."""
_NUM_GENERATIONS = 3
_MODEL = ("--model", "tiny", "--disable-prompt-refiner")


def video2world(folder: Path, seed: int) -> Part:
    """The first frame of a world goes on as its caption says."""
    prompt, frames_FHWC = _world(seed)
    picture, video, truth = folder / "picture.png", folder / "video.mp4", folder / "truth.mp4"
    write_png(picture, frames_FHWC[0])
    write_video(truth, frames_FHWC, _FPS)
    arguments = (
        *("predict2", "video2world", *_MODEL, "--input-path", str(picture), "--prompt", prompt),
        *("--seed", str(seed), "--save-path", str(video), "--overwrite"),
    )
    shown = (
        Shown("input", picture, "The first frame.", "A small room with coloured solids, as the video begins."),
        Shown("output", video, f"{len(frames_FHWC)} frames.", f"Video made from the picture and the prompt: {prompt}"),
        Shown("truth", truth, "How the world really goes on.", f"Rendered video: {prompt}"),
    )
    about = (
        "Predict2 is given one picture and a prompt, and makes the next second. Where things go is said by the prompt "
        "alone."
    )
    return Part("A picture goes on", about, prompt, arguments, lambda: shown, TINY_ROOT)


def best_of_n(folder: Path, seed: int) -> Part:
    """Three videos that continue a clip, ranked by the critic that needs no weights."""
    prompt, frames_FHWC = _world(seed + 1)
    clip, truth, videos = folder / "clip.mp4", folder / "truth.mp4", folder / "videos"
    write_video(clip, frames_FHWC[:_GIVEN], _FPS)
    write_video(truth, frames_FHWC, _FPS)
    arguments = (
        *("predict2", "best-of-n", *_MODEL, "--critic", "measured", "--num-generations", str(_NUM_GENERATIONS)),
        *("--input-path", str(clip), "--num-conditional-frames", str(_GIVEN), "--prompt", prompt),
        *("--seed", str(seed), "--save-path", str(videos), "--overwrite"),
    )

    def shown() -> Sequence[Shown]:
        made = sorted(videos.glob("*.mp4"), key=lambda path: (-(score_of(path) or 0), path.name))
        return (
            Shown("input", clip, f"The first {_GIVEN} frames.", "A short clip of a small room with coloured solids."),
            *(
                Shown("output", video, _verdict(place, video), f"Video {place} of {len(made)}: {prompt}")
                for place, video in enumerate(made, start=1)
            ),
            Shown("truth", truth, "How the world really goes on.", f"Rendered video: {prompt}"),
        )

    about = (
        "Predict2 continues a clip three times, from three seeds, and a critic ranks the videos: here by how steadily "
        "they move, how sharp they stay, and how near they are to each other."
    )
    return Part("The best of three", about, prompt, arguments, shown, TINY_ROOT)


def _world(seed: int) -> tuple[str, np.ndarray]:
    """A caption, and frames (F, H, W, 3) in the size and length of the tiny model."""
    variant = VARIANTS["tiny"]
    size = variant.sizes[variant.default_resolution]["16:9"]
    scene = find(seed, size, variant.num_frames[_FPS], slides)
    return scene.caption(), render(scene, size).rgb_FHW3


def _verdict(place: int, video: Path) -> str:
    score = score_of(video)
    return f"Number {place}: {score} of 100." if score is not None else f"Number {place}, without a score."
