"""Values that nobody should give, and documents that hold one or two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

LITERALS = ("NaN", "Infinity", "-Infinity", "1e999", "1e308", "-0.0", "9" * 5000, "1" + "0" * 90, "2e-320", "0x10")
NUMBERS = (0, -1, 1, 2, 5, 9, 121, 2**31, 2**32, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.5, 1e-320, 1e308, 1.5e9)
TEXTS = (
    # names of files and folders
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "..",
        ".",
        "/",
        "//",
        "~",
        "~nobody/x",
        "../../x",
        "/etc/passwd",
        "/dev/null",
        "/dev/zero",
    ),
    *(
        "/dev/zero",
        "/proc/self/mem",
        ".mp4",
        "..mp4",
        "a" * 300,
        "a" * 5001,
        "a" * 11_000,
        "é" * 130,
        "\U0001f600" * 70,
    ),
    *("a/b" * 2000, "con", "CON.mp4", "a.mp4/", "here/", "link.mp4", "loop.mp4", "file:x.mp4", "concat:a|b", "pipe:0"),
    # what terminals and formats may take for something else
    *("\u202egpj.mp4", "\ufeff", "\x1b[2J", "\r\n", "a\nb", "\u2028", "\u2029\u0085", "\u200b", "-", "--", "--json"),
    *("%s%n", "{0}", "[bold]x[/bold]", "[/]", "true", "null", "{}", "http://127.0.0.1:1/x"),
    # numbers and amounts that are none
    *("nan", "inf", "-inf", "1e999", "9" * 400, "1_000", "٣", "０", "cp=4,cfg=2", "cp=", "dp=0", "cp=99999999999"),
    *("12GiB", "-1GiB", "nanGiB", "1e400GiB", "cuda", "cuda:99", "mps", "meta"),
)

FILES = ("picture.png", "clip.mp4", "map.npy", "good.json", "empty", "bytes.bin", "folder", "missing.mp4")
"""Names of what is in the working folder; the last is not."""

numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
texts = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(FILES),
    st.text(max_size=20),
    st.text(st.characters(categories=["Cc", "Cf", "Mn", "Zs", "Zl", "So"]), max_size=12),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
odd = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
        max_leaves=6,
    ),
)
"""Anything that JSON can hold."""


class Raw(str):
    """Text that stands in JSON as it is, without quotes."""

    __slots__ = ()


raws = st.one_of(
    st.sampled_from(LITERALS),
    st.sampled_from((70, 2000, 200_000)).map(lambda depth: "[" * depth + "]" * depth),
    st.sampled_from((70, 5000)).map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
    st.sampled_from(('"\\ud800"', '"\\udcff"', '"\\udce9.mp4"', '"\\u0000"', '{"a":1,"a":2}', '"\t"', "'a'", "01", "")),
).map(Raw)


def dumped(value: Any) -> str:
    """JSON with the raw parts as they are."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {dumped(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dumped, value)) + "]"
    return json.dumps(value)


@st.composite
def changed(draw: st.DrawFn, goods: Sequence[Mapping[str, Any]], names: Sequence[str], most: int = 2) -> dict[str, Any]:
    """A valid document with up to `most` hostile changes at any depth: values, keys, and keys left out."""
    document = json.loads(json.dumps(draw(st.sampled_from(goods))))
    for _ in range(draw(st.integers(0, most))):
        _change(draw, document, names)
    return document


def _change(draw: st.DrawFn, document: Any, names: Sequence[str]) -> None:
    place, key = document, None
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    kind = draw(st.sampled_from(("value", "value", "value", "known", "known", "other", "remove")))
    if isinstance(place, dict) and kind in ("known", "other"):
        place[draw(st.sampled_from(names) if kind == "known" else texts)] = draw(st.one_of(odd, raws))
    elif key is None:
        return
    elif kind == "remove":
        del place[key]
    else:
        place[key] = draw(st.one_of(odd, odd, raws))


_WAYS = ("whole", "whole", "cut", "flip", "flips", "insert", "repeat", "utf-16", "bom", "latin")


@st.composite
def mangled(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that are sometimes cut, flipped, repeated, spliced or in another encoding."""
    content = draw(contents)
    kind = draw(
        st.sampled_from(("whole", "whole", "cut", "flip", "flips", "insert", "repeat", "utf-16", "bom", "latin"))
    )
    at = draw(st.integers(0, max(0, len(content) - 1)))
    if kind == "cut":
        return content[:at]
    if kind in ("flip", "flips") and content:
        changed = bytearray(content)
        for _ in range(1 if kind == "flip" else draw(st.integers(2, 8))):
            changed[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if kind == "insert":
        return content[:at] + draw(st.binary(max_size=16)) + content[at:]
    if kind == "repeat":
        return content * 2
    if kind in ("utf-16", "latin"):
        return content.decode(errors="replace").encode("utf-16" if kind == "utf-16" else "latin-1", errors="replace")
    return b"\xef\xbb\xbf" + content if kind == "bom" else content
