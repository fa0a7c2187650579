"""What may never be shown or written: keys, tokens and passwords, wherever they stand, and what terminals obey.

`output` sends all that it prints through here, and `files.writing` all JSON and pages that it writes.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

HIDDEN = "***"

_SECRET_NAMES = (
    *("TOKEN", "PASSWORD", "PASSWD", "SECRET", "CREDENTIAL", "CREDENTIALS"),
    *("API_KEY", "APIKEY", "ACCESS_KEY", "ACCESS_KEY_ID", "SECRET_KEY"),
)
"""How names of environment variables end that hold a secret, such as HF_TOKEN or AWS_SECRET_ACCESS_KEY."""

_MIN_LENGTH = 6
"""A shorter value is hidden only where it stands alone: else a key `a` would black out every text."""

# compiled only when a text may hold a match: every command goes through here, `--help` and completion too
_PASSWORD = r"(?i)(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<login>[^\s/?#'\"<>]*)@"
_SIGNED = (
    r"(?i)(?P<name>[?&](?:amp;)?(?:X-(?:Amz|Goog|Ms)-(?:Signature|Credential|Security-Token)|Signature|Key-Pair-Id|Policy"
    r"|AWSAccessKeyId|sig|token|access_token|api_?key|key|password)=)[^&\s\"'<>)\]}]+"
)
_HEADER = (
    r"(?i)(?P<name>\b(?:proxy-)?authorization\b[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?"
    r"|\b(?:bearer|basic)\s+(?=[\w.~+/-]{16}))[^\s\"',;]+"
)
_PREFIXES = ("hf_", "sk-", "AKIA", "nvapi-", "ghp_")
_KNOWN_FORMS = r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[\w-]{16,}|AKIA[0-9A-Z]{16}\b|nvapi-[\w-]{20,}|ghp_\w{30,})"

_NO_SECRETS = frozenset({"true", "false", "none", "null"})
"""Values of switches whose names look as if they held a secret."""

_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udc9f]"
"""What a terminal obeys or reorders instead of showing it, also as bytes of a name that is no text.

Line feed and tab are ours.
"""


def hide(text: str) -> str:
    """The text without secrets: those that this process knows of, and what looks like one by its place."""
    return _hide(text, *_known())


def visible(text: str) -> str:
    """The text with an escape such as \\x1b in place of each control character, so that terminals obey none of them."""
    if text.isprintable():  # nearly all are
        return text
    return re.sub(_UNSAFE, lambda found: _escape(ord(found.group())), text)


def json_visible(text: str) -> str:
    """The same for a JSON document, which stays the same document."""
    if text.isprintable():  # nearly all are
        return text
    return re.sub(_UNSAFE, lambda found: f"\\u{ord(found.group()):04x}", text)


def _escape(code: int) -> str:
    return {0x0D: "\\r", 0x1B: "\\x1b"}.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _hide(text: str, forms: tuple[str, ...], short: tuple[str, ...]) -> str:
    for form in forms:
        text = text.replace(form, HIDDEN)
    for value in short:
        text = re.sub(rf"(?<![\w-]){re.escape(value)}(?![\w-])", HIDDEN, text)
    if "@" in text:
        text = re.sub(_PASSWORD, rf"\g<scheme>{HIDDEN}@", text)
    if "=" in text:
        text = re.sub(_SIGNED, rf"\g<name>{HIDDEN}", text)
    if any(word in text.lower() for word in ("authorization", "bearer", "basic")):
        text = re.sub(_HEADER, rf"\g<name>{HIDDEN}", text)
    if any(prefix in text for prefix in _PREFIXES):
        text = re.sub(_KNOWN_FORMS, HIDDEN, text)
    return text


def hide_in(document: object) -> object:
    """The same for every text in a JSON document, and the names of fields that are not plain words."""
    known = _known()

    def within(part: object) -> object:
        if isinstance(part, str):
            return _hide(part, *known)
        if isinstance(part, Mapping):
            return {_named(key, within): within(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            return [within(value) for value in part]
        return part if part is None or isinstance(part, bool | int | float) else within(str(part))

    return within(document)


def _named(key: object, within: Callable[[object], object]) -> object:
    """The name of a field; one as ours are stays: whoever has `prompt` as a password shall not lose the prompts."""
    if not isinstance(key, str) or (key.isidentifier() and key.isascii() and key.islower() and len(key) <= 40):
        return key
    return within(key)


def _known() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All forms of the secrets that this process knows of, and those that are too short to be hidden within words."""
    values = _values()
    # one of three characters or fewer keeps nothing from anybody, and words such as "1" or "no" stand everywhere
    short = tuple(value for value in values if 3 < len(value) < _MIN_LENGTH and value.lower() not in _NO_SECRETS)
    return _forms(frozenset(value for value in values if len(value) >= _MIN_LENGTH)), short


def _values() -> set[str]:
    """What the environment and the Hub's login file hold. They may change while a process runs."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if name.upper().endswith(_SECRET_NAMES):
            # also without what a shell or an editor left around it, and each line of one that has several
            found |= {value, value.strip(), *(line.strip() for line in value.splitlines())}
        elif "@" in value and (login := re.search(_PASSWORD, value)):
            found |= _of_login(login["login"])
    token = _stored_token()
    return {value for value in found | ({token} if token else set()) if value and not value.isspace()}


def _of_login(login: str) -> set[str]:
    """The password of `user:password`, or the token that stands alone; as it is written and as it is meant."""
    from urllib.parse import unquote

    _, colon, password = login.partition(":")
    secret = password if colon else login
    return {secret, unquote(secret), login, unquote(login)}


def _stored_token() -> str:
    """What `hf auth login` has stored."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    try:
        with path.expanduser().open("rb") as file:
            return file.read(4096).decode(errors="replace").strip()
    except (OSError, RuntimeError, ValueError):
        return ""


@functools.lru_cache(maxsize=8)
def _forms(values: frozenset[str]) -> tuple[str, ...]:
    """Everything that a value may be written as; the longest first, so that no half of one stays."""
    return tuple(sorted({form for value in values for form in _written(value)}, key=len, reverse=True))


def _written(value: str) -> Iterator[str]:
    import base64
    import html
    from urllib.parse import quote, quote_plus

    yield from (value, quote(value, safe=""), quote(value), quote_plus(value), html.escape(value))
    yield html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")  # as our own pages have it
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield repr(value.encode(errors="replace"))[2:-1]
    data = value.encode(errors="replace")
    # within a longer text base64 depends on how many bytes come before: basic auth has "user:" there
    for num_before in range(3):
        coded = base64.b64encode(b"\0" * num_before + data).decode()
        kept = coded[(0, 2, 3)[num_before] : len(coded.rstrip("=")) - ((num_before + len(data)) % 3 > 0)]
        if len(kept) >= _MIN_LENGTH:
            yield from (kept, kept.translate(str.maketrans("+/", "-_")))
