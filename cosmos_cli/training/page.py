"""The page of a run: one HTML document with its pictures and style inside; only sample videos lie beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cosmos_cli.page import render
from cosmos_cli.training.curves import Curve, chart


@dataclass
class Page:
    """What a page shows.

    path: project, group and name. experiment: the named recipe that it began from. state: in a word or two.
    facts: short labels to short values. curves: titles to what they show.
    samples: steps to names of video files, relative to the page. recipe: dotted names to values.
    differences: of them, those that differ from the experiment: own value and the experiment's.
    """

    path: Sequence[str]
    experiment: str
    state: str
    iteration: int
    total: int
    written: str
    facts: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    samples: Mapping[int, Sequence[str]] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def html(self) -> str:
        """The whole document."""
        return render(
            "cosmos_cli.training:report.html.j2",
            page=self,
            share=100 * min(self.iteration / max(self.total, 1), 1),
            charts=[chart(name, curve, self.total, from_zero=name != "Loss") for name, curve in self.curves.items()],
            address=quote,
            shown=_shown,
        )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
