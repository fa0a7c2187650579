"""Pictures, videos and weight maps: whole ones that were cut, flipped and lied about, and bytes that never were any."""

from __future__ import annotations

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cosmos_cli.errors import InputError
from cosmos_cli.media.facts import read_facts
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import read_first_frame, read_last_frames, read_video
from cosmos_plugins.transfer1.weight_maps import read_weight_map
from tests.clips import encode, moving_gradient
from tests.fuzz.judge import fuzz, in_bounds
from tests.fuzz.values import mangled

_EXTREMES = tuple(
    value.to_bytes(4, order) for value in (0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1) for order in ("big", "little")
)
_CLIPS = (
    *(("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "mpeg2video")),
    *(("webm", "libvpx"), ("m4v", "mpeg4"), ("gif", "gif")),
)


@functools.cache
def pictures() -> dict[str, bytes]:
    """Suffix to a small picture."""
    image = Image.fromarray(moving_gradient(1, 24, 32)[0])
    made = {}
    for name in ("png", "jpeg", "webp", "bmp", "tiff", "gif"):
        file = io.BytesIO()
        image.save(file, name)
        made[name] = file.getvalue()
    return made


@functools.cache
def clips() -> dict[str, bytes]:
    """Suffix to a small video."""
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in _CLIPS:
            pixels = "rgb8" if codec == "gif" else "yuv420p"
            path = Path(folder) / f"clip.{suffix}"
            try:
                made[suffix] = encode(
                    path, moving_gradient(4, 32, 48), codec=codec, fps=25, pix_fmt=pixels
                ).read_bytes()
            except (ValueError, OSError):
                continue  # this build of FFmpeg has no such codec
    return made


@functools.cache
def maps() -> dict[str, bytes]:
    """Suffix to a small weight map."""
    array, file, tensor = io.BytesIO(), io.BytesIO(), torch.full((6, 8), 0.5)
    np.save(array, tensor.numpy())
    torch.save(tensor, file)
    return {"npy": array.getvalue(), "pt": file.getvalue(), "png": pictures()["png"], "mp4": clips()["mp4"]}


@st.composite
def lied_about(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with one to three of their fields of 4 bytes replaced."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(1, 3))):
        # headers and tables lie at the ends
        near = st.one_of(st.integers(0, min(400, len(content))), st.integers(max(0, len(content) - 900), len(content)))
        at = draw(st.one_of(near, st.integers(0, len(content))))
        content[at : at + 4] = draw(st.sampled_from(_EXTREMES))
    return bytes(content)


@st.composite
def files(draw: st.DrawFn, made: dict[str, bytes]) -> tuple[str, bytes]:
    """A suffix, and bytes that mostly fit it."""
    suffix, content = draw(st.sampled_from(sorted(made.items())))
    whole = st.just(content)
    damaged = draw(st.one_of(mangled(whole), lied_about(whole), lied_about(whole), st.binary(max_size=64)))
    return draw(st.sampled_from((suffix, suffix, suffix, *made))), damaged


@fuzz
@given(st.deferred(lambda: files(pictures())))
def test_pictures(file: tuple[str, bytes]) -> None:
    path = Path(f"picture.{file[0]}")
    path.write_bytes(file[1])
    outcome = in_bounds(lambda: read_image(path), InputError)
    assert isinstance(outcome, InputError) or (outcome.ndim == 3 and outcome.dtype == np.uint8)
    in_bounds(lambda: read_facts(path), InputError)


@fuzz
@given(st.deferred(lambda: files(clips())))
def test_videos(file: tuple[str, bytes]) -> None:
    path = Path(f"clip.{file[0]}")
    path.write_bytes(file[1])
    outcome = in_bounds(lambda: read_video(path), InputError)
    assert isinstance(outcome, InputError) or (outcome.frames_FHWC.ndim == 4 and outcome.fps > 0)
    in_bounds(lambda: read_facts(path), InputError)
    in_bounds(lambda: read_first_frame(path), InputError)
    in_bounds(lambda: read_last_frames(path, 2), InputError)


@fuzz
@given(st.deferred(lambda: files(maps())))
def test_weight_maps(file: tuple[str, bytes]) -> None:
    path = Path(f"map.{file[0]}")
    path.write_bytes(file[1])
    outcome = in_bounds(lambda: read_weight_map(path, where="edge"), InputError)
    assert isinstance(outcome, InputError) or np.isfinite(outcome).all()
