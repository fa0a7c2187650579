"""Refusing prompts that hold listed words."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.files.documents import read_text
from cosmos_cli.guardrails.fuzzy_words import FuzzyWords, Hit
from cosmos_cli.guardrails.look_alikes import plain_letters
from cosmos_cli.guardrails.wordnet import Nouns

if TYPE_CHECKING:
    import numpy as np

MIN_FREE_LENGTH = 6
"""Exact terms of at least this many characters also count where they touch no word boundary."""

_APART = re.compile(r"""--|\.{2,}|[;@#$%&?!()\[\]{}<>"`]|[,:](?!\d)|\.(?=[)\]}>"'\s]|$)|'(?!\w)""")
_CONTRACTIONS = re.compile(r"(?<=\w)(n't|'(?:s|m|d|ll|re|ve))(?!\w)", re.IGNORECASE)


class Blocklist:
    """Looks for listed words in the prompt as it is, and in the prompt with its nouns in the singular.

    Letters beyond ASCII count as space, as published; a third look is at the prompt as it reads, with Latin letters for
    those that look like them and without what nobody sees. Videos pass.

    Args:
        fuzzy: words and phrases to find also with look-alike letters; see `FuzzyWords`.
        allowed: words to let pass though they look like one of `fuzzy`.
        exact: words and phrases to find as whole words only, as they are written.
        nouns: what makes singulars; None leaves the second look out.
    """

    def __init__(
        self, *, fuzzy: Iterable[str] = (), allowed: Iterable[str] = (), exact: Iterable[str] = (), nouns: Nouns | None
    ) -> None:
        self._allowed = {word.lower() for word in allowed}
        self._fuzzy = FuzzyWords(word for word in fuzzy if word.lower() not in self._allowed)
        terms = sorted({" ".join(term.lower().split()) for term in exact}, key=len, reverse=True)
        any_term = "|".join(map(re.escape, terms))
        self._whole_words = re.compile(rf"\b(?:{any_term})\b" if terms else r"(?!)")
        # Upstream also compares windows of the prompt by difflib's ratio, and blocks from (n - 0.4) / n on. For a term
        # of n >= 6 characters only the term itself is that close: a letter more gives at most 2n / (2n + 1).
        self._windows = {term for term in terms if len(term) >= MIN_FREE_LENGTH}
        self._window_sizes = sorted({len(term.split()) for term in self._windows})
        self._nouns = nouns

    @classmethod
    def read(cls, folder: Path) -> Blocklist:
        """From the folder `blocklist` of the published guardrail files.

        Raises:
            CheckpointError: a list is missing, empty or not text.
        """
        fuzzy, exact = _read_words(folder / "custom"), _read_words(folder / "exact_match")
        allowed = _read_words(folder / "whitelist")
        return cls(fuzzy=fuzzy, allowed=allowed, exact=exact, nouns=Nouns.read(folder / "nltk_data"))

    def check_prompt(self, prompt: str) -> None:
        """Raises GuardrailBlocked if the prompt is empty or holds a listed word; names rule, word and score.

        Source: cosmos-transfer1, auxiliary/guardrail/blocklist (behaviour); a phrase is let pass only if all of its
        words are allowed, wherever it stands.
        """
        plain = plain_letters(prompt)
        if not prompt.strip() or not plain.strip():
            raise _blocked("the prompt is empty.")
        published, seen = _ascii(prompt), _ascii(plain)
        self._refuse(published)
        if seen != published:
            self._refuse(seen, look=", on letters as they look")

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """The frames as they came."""
        return frames_FHWC

    def _refuse(self, prompt: str, look: str = "") -> None:
        self._refuse_fuzzy(prompt, rule=f"fuzzy list{look}")
        if self._nouns:
            singular = " ".join(map(self._nouns.lemma, split_words(prompt)))
            self._refuse_fuzzy(singular, rule=f"fuzzy list, on singulars{look}")
        if term := self._exact_term(" ".join(prompt.lower().split())):
            raise _blocked(f"the exact list{look} forbids {term!r} (score 1.00).")

    def _refuse_fuzzy(self, text: str, *, rule: str) -> None:
        for hit in self._fuzzy.find(text):
            if not self._is_allowed(hit, text):
                raise _blocked(f"the {rule} forbids {hit.entry!r}; it says {hit.text!r} (score {hit.score:.2f}).")

    def _is_allowed(self, hit: Hit, text: str) -> bool:
        """Whether all that the hit touches, from space to space, is on the list of allowed words."""
        touched = [token for token in re.finditer(r"\S+", text) if token.start() < hit.end and token.end() > hit.start]
        return all(token.group().strip(string.punctuation).lower() in self._allowed for token in touched)

    def _exact_term(self, prompt: str) -> str | None:
        if match := self._whole_words.search(prompt):
            return match.group()
        words = prompt.split()
        for size in self._window_sizes:
            for i in range(len(words) - size + 1):
                if (window := " ".join(words[i : i + size])) in self._windows:
                    return window
        return None


def split_words(text: str) -> list[str]:
    """Words, endings of contractions and punctuation.

    Like NLTK's `word_tokenize`, but every full stop before a space ends a sentence, abbreviation or not, and a single
    quotation mark stands alone wherever it opens or closes.
    """
    text = re.sub(r"(?<!\S)'(?=\w)", "' ", text)
    return _CONTRACTIONS.sub(r" \1", _APART.sub(r" \g<0> ", text)).split()


def _ascii(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]+", " ", text)


def _blocked(what: str) -> GuardrailBlocked:
    return GuardrailBlocked(what, where="guardrail blocklist", fix="Change the prompt.")


def _read_words(folder: Path) -> list[str]:
    """The lines of all files in a folder; at least one."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        texts = [read_text(path, kind=CheckpointError, fix=DOWNLOAD_AGAIN) for path in files]
        lines = [line.strip() for text in texts for line in text.splitlines()]
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error}.", where=str(folder), fix=DOWNLOAD_AGAIN) from error
    words = [line for line in lines if line]
    if not words:
        raise CheckpointError("lists no words.", where=str(folder), fix=DOWNLOAD_AGAIN)
    return words
