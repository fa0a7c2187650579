"""The page of the demonstration: every part with its videos, its prompt and its command, in one HTML document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cosmos_cli import __version__, page
from cosmos_cli.demo.part import KINDS, Role, Shown

ABOUT = (
    "These are tiny models that have seen nothing but rendered rooms, and not for long. "
    "They show how each family works on your machine, not what the published models can do."
)

_LABELS: dict[Role, str] = {
    "input": "Given",
    "control": "Control",
    "output": "Made by the model",
    "truth": "For comparison",
}


@dataclass(frozen=True)
class Section:
    """One part on the page. seconds: that its command took. error: what went wrong; the part shows nothing then."""

    title: str
    about: str
    prompt: str
    command: str
    shown: tuple[Shown, ...] = ()
    seconds: float = 0.0
    error: str = ""


def gallery(sections: Sequence[Section], *, seed: int) -> str:
    """The whole document."""
    failed = sum(bool(section.error) for section in sections)
    seconds = sum(section.seconds for section in sections)
    made = f"{len(sections) - failed} of {len(sections)} made" if failed else f"{len(sections)} made"
    return page.render(
        "cosmos_cli.demo:gallery.html.j2",
        sections=sections,
        about=ABOUT,
        made=f"{made} in {seconds:.0f} s",
        version=__version__,
        seed=seed,
        date=datetime.now(),
        labels=_LABELS,
        source=_source,
        pieces=_pieces,
    )


def _source(shown: Shown) -> str:
    return page.inside(shown.path.read_bytes(), KINDS[shown.path.suffix])


def _pieces(command: str) -> list[str]:
    """A command line, divided before each of its options."""
    return re.split(r" (?=--[a-z])", command)
