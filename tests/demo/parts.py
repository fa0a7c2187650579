"""Parts that take no time, as another package may bring them, and what stands in for the commands that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cosmos_cli.demo.part import Part, Shown
from cosmos_cli.errors import DiskFull, InputError
from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import write_video
from cosmos_cli.registered import Extension

HOSTILE = '</pre><script>document.title=1</script><img src="http://evil.test/x.png">'


def one(folder: Path, seed: int) -> Part:
    return _part("one", folder, seed)


def two(folder: Path, seed: int) -> Part:
    return _part("two", folder, seed)


def broken(folder: Path, seed: int) -> Part:
    raise RuntimeError("lost its worlds")


def _part(name: str, folder: Path, seed: int) -> Part:
    picture, video = folder / "picture.png", folder / "video.mp4"
    write_png(picture, np.full((32, 48, 3), 90, np.uint8))
    shown = (Shown("input", picture, "Grey.", HOSTILE), Shown("output", video, HOSTILE, "A grey video."))
    arguments = (name, "--prompt", f"It's {HOSTILE}", "--seed", str(seed), "--save-path", str(video))
    return Part(f"Part {name}", f"About {HOSTILE}", f"It's {HOSTILE}", arguments, lambda: shown, Path("model.pt"))


def extension(name: str) -> Extension:
    return Extension("demos", name, f"Part {name}.", f"tests.demo.parts:{name}", "tests")


ONE, TWO, BROKEN = map(extension, ("one", "two", "broken"))


class Commands:
    """Writes the video of each command line, which differs from time to time; `fails` says which do not.

    ran: the names of the parts whose commands ran.
    """

    def __init__(self, fails: dict[str, BaseException] | None = None) -> None:
        self.ran: list[str] = []
        self.fails = fails or {}

    def __call__(self, arguments: Sequence[str]) -> None:
        self.ran.append(arguments[0])
        if arguments[0] in self.fails:
            raise self.fails[arguments[0]]
        frames = np.full((4, 32, 48, 3), 40 + 20 * len(self.ran), np.uint8)
        write_video(Path(arguments[-1]), frames, 16)


DISK_FULL = DiskFull("no room for video.mp4.", fix="Make room.")
REFUSED = InputError("is no number.", where="--seed", fix="Give a number.")
