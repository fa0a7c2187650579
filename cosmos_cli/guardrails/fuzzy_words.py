"""Finding listed words and phrases in a text, also where letters are replaced by look-alikes or spread over words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LOOK_ALIKES = {
    "a": "a@*4",
    "e": "e*3",
    "i": "i*l1",
    "l": "l1",
    "o": "o*0@",
    "s": "s$5",
    "t": "t7",
    "u": "u*v",
    "v": "v*u",
}
"""What may stand for a letter of a listed word. Source: better-profanity 0.7.0 (behaviour)."""

_ALIKE = str.maketrans({"$": "s", "5": "s", "7": "t", **dict.fromkeys("@*4il1o0uve3", "a")})
"""Texts of which one may stand for the other are equal after this."""

_WORD = re.compile(r"""[a-z0-9@$*"']+""")
_SEPARATORS = re.compile(r"""[^a-z0-9@$*"']""")


@dataclass(frozen=True)
class Hit:
    """A listed word in a text: the entry of the list, what stands there, and where (from, to, in characters)."""

    entry: str
    text: str
    start: int
    end: int

    @property
    def score(self) -> float:
        """The share of the entry's letters that stand there themselves; the others are replaced."""
        return sum(a == b for a, b in zip(self.entry, self.text, strict=True)) / len(self.entry)


class FuzzyWords:
    """A list of words and phrases, found with look-alike letters and however they are broken into words.

    It finds what better-profanity finds in ASCII text, and a few that it misses by accident: the last word of a
    text if it is a single letter, and every second pair of words when no entry has more than one separator.

    Args:
        entries: at least one; upper or lower case.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._alike: defaultdict[str, list[str]] = defaultdict(list)
        for entry in sorted({entry.lower() for entry in entries}):
            self._alike[entry.translate(_ALIKE)].append(entry)
        lists = self._alike.values()
        self._num_more_words = max([1, *(len(_SEPARATORS.findall(entry)) for found in lists for entry in found)])

    def find(self, text: str) -> Iterator[Hit]:
        """The hits in order, none inside another. Each is the one of the fewest words from where it starts."""
        words = list(_WORD.finditer(text.lower()))
        i = 0
        while i < len(words):
            hit, num_words = self._hit_at(words[i : i + 1 + self._num_more_words], text)
            if hit:
                yield hit
            i += num_words

    def _hit_at(self, words: list[re.Match[str]], text: str) -> tuple[Hit | None, int]:
        """A hit that begins with the first word, and how many words are dealt with."""
        start = words[0].start()
        # several words first, as better-profanity does: a phrase is one hit, though its first word may be listed, too
        for num_words in [*range(2, len(words) + 1), 1]:
            end = words[num_words - 1].end()
            joined = "".join(word.group() for word in words[:num_words])
            for written in (joined, text[start:end].lower()):
                if entry := self._entry(written):
                    return Hit(entry, written, start, end), num_words
        return None, 1

    def _entry(self, written: str) -> str | None:
        for entry in self._alike.get(written.translate(_ALIKE), ()):
            if all(b in _LOOK_ALIKES.get(a, a) for a, b in zip(entry, written, strict=True)):
                return entry
        return None
