"""Pages out of templates: one HTML document with style, script and pictures inside, which asks the network for nothing.

A template extends "cosmos_cli.page:page.html.j2", fills its blocks `title`, `style`, `body` and `script`, and writes
all text with `{{ }}`, which escapes it. Style and script stand in files of their own beside it, which it includes.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """A document out of a template; values are escaped.

    Args:
        template: "package:file", such as "cosmos_cli.demo:gallery.html.j2". Templates name each other in the same way.
    """
    return _environment().get_template(template).render(values)


def inside(content: bytes, kind: str) -> str:
    """A file as a data URL. kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # a script that ends with a comment must not swallow the next
    )
    environment.filters["fingerprint"] = _fingerprint
    return environment


def _source(template: str) -> str | None:
    package, _, file = template.partition(":")
    place = files(package).joinpath(file)
    return place.read_text(encoding="utf-8") if place.is_file() else None


def _fingerprint(script: str) -> str:
    """As a content security policy names a script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
