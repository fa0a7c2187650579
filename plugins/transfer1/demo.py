"""What `cosmos demo` shows of Transfer1: a clip in other colours, and a control that counts in places."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cosmos_cli.demo.part import Part, Shown
from cosmos_cli.files.writing import write_json
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.video import write_video
from cosmos_cli.worlds.finding import find, recoloured, slides
from cosmos_cli.worlds.pictures import depth_picture
from cosmos_cli.worlds.render import render
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA
from cosmos_plugins.transfer1.variants import VARIANTS

# F frames, H and W pixel height and width

_FPS, _NUM_FRAMES = 24, VARIANTS["tiny"].chunk_frames
_MODEL = ("--model", "tiny", "--sigma-max", f"{PURE_NOISE_SIGMA:g}")
"""From noise alone: nothing but the prompt and the controls decides."""


def edge(folder: Path, seed: int) -> Part:
    """The edges of a clip, with a prompt that names other colours."""
    size = VARIANTS["tiny"].sizes["16:9"]
    scene = find(seed, size, _NUM_FRAMES, slides)
    other = recoloured(scene, seed)
    clip, truth, spec = folder / "clip.mp4", folder / "truth.mp4", folder / "edge.json"
    write_video(clip, render(scene, size).rgb_FHW3, _FPS)
    write_video(truth, render(other, size).rgb_FHW3, _FPS)
    write_json(spec, {"edge": {"control_weight": 1.0}})
    prompt = other.caption()
    control, video = folder / "video_edge_input_control.mp4", folder / "video.mp4"
    shown = (
        Shown("input", clip, "The clip; its colours are not used.", f"Rendered clip: {scene.caption()}"),
        Shown("control", control, "Its edges, computed from the clip.", "White outlines of the clip on black."),
        Shown("output", video, f"{_NUM_FRAMES} frames.", f"Video made under the edges: {prompt}"),
        Shown("truth", truth, "The same world, rendered in these colours.", f"Rendered clip: {prompt}"),
    )
    about = (
        "Transfer1 is given the edges of a clip and a prompt that names other colours: the shapes and their way are "
        "those of the clip, the colours those of the prompt. The tiny model follows shapes better than words."
    )
    return Part(
        "A clip in other colours", about, prompt, _run(spec, clip, folder, prompt, seed), lambda: shown, TINY_ROOT
    )


def depth(folder: Path, seed: int) -> Part:
    """The depth of a clip, which counts in a window that moves."""
    size = VARIANTS["tiny"].sizes["16:9"]
    scene = find(seed + 1, size, _NUM_FRAMES, slides)
    clip, control, weights = folder / "clip.mp4", folder / "depth.mp4", folder / "weights.mp4"
    spec, video = folder / "depth.json", folder / "video.mp4"
    seen = render(scene, size)
    write_video(clip, seen.rgb_FHW3, _FPS)
    write_video(control, depth_picture(seen.depth_FHW), _FPS)
    write_video(weights, _window(_NUM_FRAMES, size), _FPS)
    write_json(spec, {"depth": {"input_control": control.name, "control_weight": weights.name}})
    prompt = recoloured(scene, seed).caption()
    shown = (
        Shown("input", clip, "The clip that the depth belongs to.", f"Rendered clip: {scene.caption()}"),
        Shown("control", control, "Depth: near is bright.", "Grey video of how far everything in the clip is."),
        Shown("control", weights, "Where it counts: in the white window.", "A white window that moves to the right."),
        Shown("output", video, "Outside the window the model is free.", f"Video made under the depth: {prompt}"),
    )
    about = (
        "A weight map says how strongly a control counts, at every place and in every frame. Here the depth holds in a "
        "window that moves from left to right; elsewhere there is only the prompt."
    )
    return Part(
        "A control that counts in places",
        about,
        prompt,
        _run(spec, clip, folder, prompt, seed),
        lambda: shown,
        TINY_ROOT,
    )


def _run(spec: Path, clip: Path, folder: Path, prompt: str, seed: int) -> tuple[str, ...]:
    return (
        *("transfer", "run", *_MODEL, "--controlnet-specs", str(spec), "--input-video-path", str(clip)),
        *("--prompt", prompt, "--seed", str(seed), "--fps", str(_FPS)),
        *("--video-save-folder", str(folder), "--video-save-name", "video", "--overwrite"),
    )


def _window(num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """White, half as wide as the picture, going from its left half to its right one, (F, H, W, 3) uint8."""
    height, width = size
    left_F = np.linspace(0, width / 2, num_frames)[:, None]
    column_W = np.arange(width)
    is_in_FW = (column_W >= left_F) & (column_W < left_F + width / 2)
    grey_FHWC = np.repeat(is_in_FW[:, None, :, None], height, axis=1) * np.uint8(255)
    return np.repeat(grey_FHWC, 3, axis=-1)
