"""The page of a run: one HTML document with its pictures and style inside; only sample videos lie beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote

from cosmos_cli.page import document
from cosmos_cli.training.curves import Curve, chart

STYLE = """
:root { --own: #7a5200; }
@media (prefers-color-scheme: dark) { :root { --own: #ecc46c; } }
h2 { font-size: 1.1rem; margin: 1.75rem 0 .6rem; }
h3 { font-size: .95rem; margin: 0 0 .4rem; font-weight: 600; }
.bar { height: .5rem; border-radius: .25rem; background: var(--line); overflow: hidden; margin: .75rem 0; }
.bar span { display: block; height: 100%; background: var(--accent); }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .5rem 1rem; margin: 0;
}
.facts div { min-width: 0; }
.facts dt { color: var(--faint); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure, .card {
  margin: 0; min-width: 0; background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: .9rem 1rem;
}
figcaption { font-size: .95rem; color: var(--faint); margin-bottom: .5rem; }
figcaption b { color: var(--ink); float: right; font-variant-numeric: tabular-nums; }
.plot { display: grid; grid-template-columns: max-content 1fr; column-gap: .5rem; font-size: .8rem; }
.plot { color: var(--faint); font-variant-numeric: tabular-nums; }
.y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; line-height: 1; }
svg { width: 100%; height: 13rem; display: block; overflow: visible; }
svg line { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg polygon { fill: var(--accent); opacity: .18; stroke: var(--accent); stroke-width: 1; }
svg polygon, svg polyline { vector-effect: non-scaling-stroke; stroke-linejoin: round; }
svg polyline { fill: none; stroke: var(--accent); stroke-width: 2; }
.y { margin: -.4rem 0; }
.x { grid-column: 2; display: flex; justify-content: space-between; margin-top: .5rem; }
.samples { display: grid; gap: 1rem; }
.videos { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: .75rem; }
video { display: block; width: 100%; background: #000; border-radius: .4rem; aspect-ratio: 16 / 9; min-height: 5rem; }
video.wide { grid-column: 1 / -1; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { color: var(--faint); font-weight: 400; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
.own { color: var(--own); font-weight: 600; }
details { margin-top: .75rem; }
summary { color: var(--accent); }
"""

SCRIPT = """
const near = new IntersectionObserver(found => {
  for (const {isIntersecting, target} of found) {
    if (!isIntersecting) continue;
    target.preload = "metadata";
    near.unobserve(target);
  }
}, {rootMargin: "400px"});
for (const video of document.querySelectorAll("video")) {
  video.addEventListener("loadedmetadata", () => {
    video.style.aspectRatio = video.videoWidth + " / " + video.videoHeight;
    video.classList.toggle("wide", video.videoWidth > 2.5 * video.videoHeight);
  });
  near.observe(video);
}
"""


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
        name = escape(self.path[-1])
        parts = [
            f"<header><h1>{name}</h1>",
            f'<p class="faint">{escape(" / ".join(self.path[:-1]))}{self._began_from()}</p>',
            self._progress(),
            "</header>",
            '<main><h2>Curves</h2><div class="charts">',
            *(chart(title, curve, self.total, from_zero=title != "Loss") for title, curve in self.curves.items()),
            "</div>",
            self._samples(),
            self._recipe(),
            "</main>",
        ]
        title = f"{self.iteration:,}/{self.total:,} {self.path[-1]}"
        # opened from a disk, or shown by a server: videos come from beside the page, and nothing from anywhere else
        return document(title, "\n".join(parts), style=STYLE, script=SCRIPT, media="'self' file:")

    def _began_from(self) -> str:
        return f", from experiment {escape(self.experiment)}" if self.experiment else ""

    def _progress(self) -> str:
        share = 100 * min(self.iteration / max(self.total, 1), 1)
        facts = {"Step": f"{self.iteration:,} of {self.total:,}", **self.facts}
        items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
        return (
            f'<div class="bar" role="progressbar" aria-label="Steps" aria-valuenow="{share:.0f}">'
            f'<span style="width: {share:.2f}%"></span></div><dl class="facts">{items}</dl>'
            f'<p class="faint">{escape(self.state)}; this page was written {escape(self.written)}.</p>'
        )

    def _samples(self) -> str:
        if not self.samples:
            return ""
        sets = []
        for step, names in sorted(self.samples.items(), reverse=True):
            videos = "".join(
                f'<video controls loop muted playsinline preload="none" src="{escape(quote(name))}" '
                f'aria-label="Sample after step {step}"></video>'
                for name in names
            )
            sets.append(f'<div class="card"><h3>After step {step:,}</h3><div class="videos">{videos}</div></div>')
        return f'<h2>Samples</h2><div class="samples">{"".join(sets)}</div>'

    def _recipe(self) -> str:
        begun = "<h2>Recipe</h2>"
        if self.experiment:
            begun += f'<div class="card"><h3>What differs from {escape(self.experiment)}</h3>{self._changes()}</div>'
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td{' class=own' * (name in self.differences)}>{_value(value)}</td></tr>"
            for name, value in self.recipe.items()
        )
        return f"{begun}<details><summary>All fields</summary>{_table('', rows)}</details>"

    def _changes(self) -> str:
        if not self.differences:
            return '<p class="faint">Nothing.</p>'
        rows = "".join(
            f'<tr><td>{escape(name)}</td><td class="own">{_value(own)}</td><td>{_value(other)}</td></tr>'
            for name, (own, other) in sorted(self.differences.items())
        )
        return _table("<tr><th>Field</th><th>Here</th><th>Experiment</th></tr>", rows)


def _table(head: str, rows: str) -> str:
    return f'<div class="table"><table>{head}{rows}</table></div>'


def _value(value: Any) -> str:
    return escape(value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False))
