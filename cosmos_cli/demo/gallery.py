"""The page of the demonstration: every part with its videos, its prompt and its command, in one HTML document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

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

STYLE = """
h1 { font-size: 1.9rem; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .35rem; }
header { max-width: 46rem; margin-bottom: 1.5rem; }
.about { max-width: 46rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .4rem 1.1rem; list-style: none; padding: 0; margin: .9rem 0 0; }
a { color: var(--accent); text-underline-offset: .2em; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .9rem; padding: 1.25rem; margin: 0 0 1.5rem;
}
.shown { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr)); gap: 1rem; }
.shown { margin: 1rem 0; align-items: start; }
.shown.few { grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 24rem)); }
figure { margin: 0; min-width: 0; }
video, img { display: block; width: 100%; background: #000; border-radius: .5rem; outline: 1px solid var(--line); }
.output video, .output img { outline: 3px solid var(--accent); outline-offset: 2px; }
figcaption { font-size: .9rem; margin-top: .5rem; }
.role { display: block; font-weight: 650; }
.output .role { color: var(--accent); }
figcaption span:last-child { color: var(--faint); }
.prompt { border-left: .25rem solid var(--line); padding: .1rem 0 .1rem .9rem; margin: 0 0 1rem; max-width: 52rem; }
.prompt b { display: block; font-weight: 400; font-size: .85rem; color: var(--faint); }
.command { border-radius: .5rem; background: var(--paper); border: 1px solid var(--line); padding: .5rem .9rem; }
.command div { display: flex; align-items: center; justify-content: space-between; min-height: 2rem; }
.command div { font-size: .85rem; color: var(--faint); }
pre { margin: .25rem 0; white-space: pre-wrap; font-size: .85rem; line-height: 1.55; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre:focus-visible, video:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
pre span { display: inline-block; max-width: 100%; vertical-align: top; }
button {
  font: inherit; font-size: .85rem; color: var(--accent); background: var(--card); border: 1px solid currentColor;
  border-radius: .4rem; padding: .25rem .7rem; cursor: pointer; min-width: 4.6rem;
}
.time { margin: .6rem 0 0; font-variant-numeric: tabular-nums; }
.error { border-left: .25rem solid #c2323a; padding: .1rem 0 .1rem .9rem; margin: 1rem 0; white-space: pre-wrap; }
footer { margin-top: 2rem; }
"""

SCRIPT = (
    page.VIDEOS_INSIDE
    + """
const still = matchMedia("(prefers-reduced-motion: reduce)");
const near = new IntersectionObserver(found => {
  for (const {isIntersecting, target} of found) {
    if (!isIntersecting) target.pause();
    else target.play().catch(() => { target.controls = true; });  // a browser may want to be asked first
  }
});
for (const video of still.matches ? [] : videos) {
  near.observe(video);
  // the videos are small, and controls would cover what is to be seen
  video.controls = false;
  for (const come of ["pointerenter", "focus"]) video.addEventListener(come, () => { video.controls = true; });
  for (const go of ["pointerleave", "blur"]) video.addEventListener(go, () => { video.controls = video.paused; });
}

function copied(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  document.body.append(area);
  area.focus({preventScroll: true});
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { done = copied(text); }
    button.focus();
    button.textContent = done ? "Copied" : "Select it";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
"""
)


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
    links = "".join(f'<li><a href="#part-{n}">{escape(one.title)}</a></li>' for n, one in enumerate(sections, 1))
    made = f"{len(sections) - failed} of {len(sections)} made" if failed else f"{len(sections)} made"
    body = [
        f"<header><h1>What cosmos makes</h1><p>{escape(ABOUT)}</p>",
        f'<p class="faint">{made} in {seconds:.0f} s; cosmos {escape(__version__)}, seed {seed}, '
        f"{datetime.now():%Y-%m-%d %H:%M}.</p>",
        f'<nav aria-label="Parts"><ul>{links}</ul></nav></header><main>',
        *(_section(number, section) for number, section in enumerate(sections, start=1)),
        '</main><footer class="faint"><p>Run each command in the folder in which <code>cosmos demo</code> was run. '
        "<code>cosmos --help</code> lists everything else.</p></footer>",
    ]
    return page.document("What cosmos makes", "\n".join(body), style=STYLE, script=SCRIPT)


def _section(number: int, section: Section) -> str:
    parts = [f'<section id="part-{number}" aria-labelledby="title-{number}">']
    parts.append(f'<h2 id="title-{number}">{escape(section.title)}</h2>')
    if section.about:
        parts.append(f'<p class="about">{escape(section.about)}</p>')
    if section.error:
        parts.append(f'<p class="error"><b>This part failed.</b> {escape(section.error)}</p>')
    if section.shown:
        few = " few" if len(section.shown) < 3 else ""
        parts.append(f'<div class="shown{few}">{"".join(map(_figure, section.shown))}</div>')
    if section.prompt:
        parts.append(f'<p class="prompt"><b>Prompt</b>{escape(section.prompt)}</p>')
    if section.command:
        parts.append(
            f'<div class="command"><div><span>Command</span><button type="button" data-copy="command-{number}" '
            'aria-live="polite" hidden>Copy</button></div>'
            f'<pre id="command-{number}" tabindex="0" aria-label="Command">{_breakable(section.command)}</pre></div>'
        )
    if section.seconds:
        parts.append(f'<p class="faint time">Took {section.seconds:.1f} s.</p>')
    return "".join([*parts, "</section>"])


def _figure(shown: Shown) -> str:
    source = page.inside(shown.path.read_bytes(), KINDS[shown.path.suffix])
    alt = escape(shown.alt)
    if shown.path.suffix == ".png":
        picture = f'<img src="{source}" alt="{alt}">'
    else:
        picture = (
            f'<video controls muted loop playsinline preload="auto" tabindex="0" aria-label="{alt}" '
            f'src="{source}"></video>'
        )
    return (
        f'<figure class="{shown.role}">{picture}<figcaption><span class="role">{_LABELS[shown.role]}</span>'
        f"<span>{escape(shown.caption)}</span></figcaption></figure>"
    )


def _breakable(command: str) -> str:
    """A command line that goes on in a new line before an option where it can; copied, it is one line."""
    return " ".join(f"<span>{escape(part)}</span>" for part in re.split(r" (?=--[a-z])", command))
