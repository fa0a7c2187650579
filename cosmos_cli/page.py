"""What all pages have in common: one HTML document with style, script and pictures inside, which asks the network for
nothing."""

from __future__ import annotations

import base64
import hashlib
from html import escape

BASE_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f6f3; --card: #fff; --ink: #1d1f23; --faint: #5f6570; --line: #dcdcd6; --accent: #2b57b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171b; --card: #1e2126; --ink: #e9eaed; --faint: #a2a8b3; --line: #353a42; --accent: #8db1ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 84rem; padding: 1.25rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere;
  -webkit-text-size-adjust: 100%;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
p { margin: 0 0 .5rem; }
.faint { color: var(--faint); font-size: .9rem; }
summary { cursor: pointer; }
summary:focus-visible, button:focus-visible, a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
"""
"""Colours for light and dark, and type."""

VIDEOS_INSIDE = """
const videos = [...document.querySelectorAll("video")];
for (const video of videos) {
  const fit = () => {
    if (video.videoWidth) video.style.aspectRatio = video.videoWidth + " / " + video.videoHeight;
  };
  fit();
  video.addEventListener("loadedmetadata", fit);
  // some browsers play no video out of a data URL, or only a short one; as a blob it is the same bytes
  video.addEventListener("error", () => {
    const bytes = Uint8Array.from(atob(video.src.slice(video.src.indexOf(",") + 1)), c => c.charCodeAt(0));
    video.src = URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}));
  }, {once: true});
}
"""
"""Script of pages whose videos are inside as data URLs; it names them `videos`."""

INSIDE = "data: blob:"
"""Where the videos of such a page come from."""


def document(title: str, body: str, *, style: str, script: str, media: str = INSIDE) -> str:
    """A whole page.

    Args:
        title: plain text.
        body: HTML in which all text is escaped already.
        style: beside `BASE_STYLE`.
        media: where videos may come from, as a content security policy has it.
    """
    fingerprint = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # should a text ever slip through unescaped, this keeps it from running or fetching anything
    allowed = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{fingerprint}'; media-src {media}; "
        "img-src data:"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{BASE_STYLE}{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def inside(content: bytes, kind: str) -> str:
    """A file as a data URL. kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
