"""English nouns in their base form, by the word lists of WordNet that the published guardrail files hold."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Set
from pathlib import Path

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.errors import CheckpointError

_PLURALS = (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
)
"""Endings of plurals, and what stands there in the singular. Source: WordNet, morphy(7WN)."""


class Nouns:
    """What is a noun, and what is the plural of one.

    Args:
        known: nouns in their base form, lower case.
        irregular: base forms of plurals that no rule gives.
    """

    def __init__(self, known: Set[str], irregular: Mapping[str, list[str]]) -> None:
        self._known, self._irregular = known, irregular

    @classmethod
    def read(cls, nltk_data: Path) -> Nouns:
        """From a folder as NLTK's downloader leaves it, with WordNet unpacked or zipped.

        Raises:
            CheckpointError: the lists of nouns are missing or damaged.
        """
        folder, archive = nltk_data / "corpora" / "wordnet", nltk_data / "corpora" / "wordnet.zip"
        try:
            place = folder if folder.is_dir() else zipfile.Path(archive, "wordnet/")
            index = (place / "index.noun").read_text(encoding="utf-8")
            exceptions = (place / "noun.exc").read_text(encoding="utf-8")
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"has no readable WordNet: {error}.", where=str(nltk_data), fix=DOWNLOAD_AGAIN
            ) from error
        # lines of the licence begin with a space
        known = {line.split(" ", 1)[0] for line in index.splitlines() if line and not line.startswith(" ")}
        if not known:
            raise CheckpointError("holds a WordNet without nouns.", where=str(nltk_data), fix=DOWNLOAD_AGAIN)
        entries = [line.split() for line in exceptions.splitlines() if line.strip()]
        return cls(known, {plural: singulars for plural, *singulars in entries})

    def lemma(self, word: str) -> str:
        """The shortest base form of a word; the word itself if it is no noun. Capitals make it none.

        Source: NLTK 3.9, WordNetLemmatizer (behaviour).
        """
        return min(self._base_forms(word), key=len, default=word)

    def _base_forms(self, word: str) -> list[str]:
        if word in self._irregular:
            singulars = self._irregular[word]
        else:
            singulars = [word.removesuffix(old) + new for old, new in _PLURALS if word.endswith(old)]
        return [form for form in (word, *singulars) if form in self._known]
