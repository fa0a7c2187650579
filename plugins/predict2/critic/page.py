"""The frame of a report: one HTML document with its style and script inside, which asks the network for nothing."""

from __future__ import annotations

from cosmos_cli import page

STYLE = """
:root {
  --good: #17693a; --good-paper: #e7f4ea; --bad: #a4262c; --bad-paper: #fbeaea;
  --open: #7a5200; --open-paper: #fbf2dc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --good: #7fd79d; --good-paper: #17301f; --bad: #f59a9a; --bad-paper: #3a1d1f;
    --open: #ecc46c; --open-paper: #352a12;
  }
}
h1 { text-wrap: balance; }
h2 { font-size: 1rem; margin: 0; }
header { margin-bottom: 1.25rem; }
button {
  font: inherit; color: var(--accent); background: none; border: 1px solid currentColor; border-radius: .5rem;
  padding: .35rem .9rem; margin-top: .5rem; cursor: pointer;
}
.asked, .card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
.asked { padding: .45rem 1.25rem; margin-bottom: 1.25rem; }
.asked details:first-child { border: 0; }
.long summary { list-style: none; position: relative; padding-left: 1.1rem; }
.long summary::-webkit-details-marker { display: none; }
.long summary::before { content: "▸"; position: absolute; left: 0; color: var(--faint); }
.long[open] summary::before { content: "▾"; }
.long .label { display: block; color: var(--faint); font-size: .85rem; }
.long .text { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
.long .text { max-width: 80ch; }
.long[open] .text { display: block; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); gap: 1.25rem; }
.cards, .card { align-items: start; }
.card { min-width: 0; overflow: hidden; }
.card.best { border-color: var(--good); box-shadow: 0 0 0 1px var(--good); }
.alone { max-width: 60rem; margin: 0 auto; }
.alone .asked { margin: 1.25rem 0 0; }
video { display: block; width: 100%; background: #000; aspect-ratio: 16 / 9; object-fit: contain; }
.inside { padding: 1rem 1.25rem; }
.headline { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; margin-bottom: .25rem; }
.score { font-size: 2rem; line-height: 1.1; font-weight: 650; font-variant-numeric: tabular-nums; }
.score small { font-size: .9rem; font-weight: 400; color: var(--faint); }
.badge { color: var(--good); font-weight: 650; }
.bar { height: .3rem; border-radius: .15rem; background: var(--line); margin: 0 0 .75rem; overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--accent); }
.best .bar span { background: var(--good); }
.counts { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0 .75rem; padding: 0; list-style: none; }
.verdict { display: inline-block; }
.counts li, .verdict { border-radius: .4rem; padding: .1rem .5rem; font-size: .9rem; }
.good { color: var(--good); background: var(--good-paper); }
.bad { color: var(--bad); background: var(--bad-paper); }
.open { color: var(--open); background: var(--open-paper); }
.none { color: var(--faint); border: 1px solid var(--line); }
details { border-top: 1px solid var(--line); padding: .55rem 0; }
.inside > details:last-child { padding-bottom: 0; }
details details { border: 0; padding: .25rem 0; }
.component { border-left: .25rem solid currentColor; border-radius: .25rem; padding: .5rem .75rem; margin: .5rem 0; }
.component p { color: var(--ink); margin: .15rem 0 0; font-size: .95rem; }
.trial { padding-top: .5rem; }
pre {
  margin: .5rem 0 0; padding: .75rem; border-radius: .4rem; background: var(--paper); font-size: .85rem;
  white-space: pre-wrap;
}
dl { display: grid; grid-template-columns: minmax(min-content, max-content) 1fr; gap: .2rem 1rem; margin: .5rem 0 0; }
dt { color: var(--faint); }
dd { margin: 0; min-width: 0; }
.card dl { font-size: .95rem; margin: 0 0 .75rem; }
"""

SCRIPT = (
    page.VIDEOS_INSIDE
    + """const together = document.getElementById("together");
if (together) {
  together.hidden = false;
  together.addEventListener("click", () => {
    const playing = videos.some(video => !video.paused);
    together.textContent = playing ? "Play all together" : "Pause all";
    for (const video of videos) {
      if (playing) { video.pause(); continue; }
      video.currentTime = 0;
      video.play();
    }
  });
}
"""
)


def document(title: str, body: str) -> str:
    """A whole page. `title` is plain text, `body` is HTML in which all text is escaped already."""
    return page.document(title, body, style=STYLE, script=SCRIPT)
