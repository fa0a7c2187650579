"""Listed words are found in every disguise that the published guardrail sees through, and nothing else is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.blocklist import Blocklist, split_words
from cosmos_cli.guardrails.builtin import builtin_guardrails
from cosmos_cli.guardrails.fuzzy_words import FuzzyWords
from cosmos_cli.guardrails.wordnet import Nouns
from tests.guardrails.stand_ins import write_lists

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "guardrails" / "fuzzy_words.json").read_text())


@pytest.fixture
def blocklist(tmp_path: Path) -> Blocklist:
    return Blocklist.read(write_lists(tmp_path / "blocklist"))


def test_the_same_texts_are_found_as_by_better_profanity() -> None:
    words = FuzzyWords(GOLDEN["entries"])
    assert {text: any(words.find(text)) for text in GOLDEN["texts"]} == GOLDEN["texts"]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("A Grob walks.", r"fuzzy list forbids 'grob'; it says 'grob' \(score 1.00\)"),
        ("two gr*b, please", r"'grob'; it says 'gr\*b' \(score 0.75\)"),
        ("gr ob", "'grob'"),
        ("они blorp", "'blorp'"),
        ("He says 'zip-zap zip zap!'", "'zip zap'"),
        ("many blorps", r"on singulars forbids 'blorp'; it says 'blorp' \(score 1.00\)"),
        ("three grobben.", "on singulars forbids 'grob'"),
        ('"grobs"', "on singulars forbids 'grob'"),
        ("all  FLIM\nflam here", r"exact list forbids 'flim flam' \(score 1.00\)"),
        ("sneet.", "exact list forbids 'sneet'"),
        ("   ", "empty"),
        ("", "empty"),
    ],
)
def test_a_refusal_names_the_rule_the_word_and_the_score(blocklist: Blocklist, prompt: str, reason: str) -> None:
    with pytest.raises(GuardrailBlocked, match=reason) as raised:
        blocklist.check_prompt(prompt)
    assert raised.value.problems[0].where == "guardrail blocklist"


@pytest.mark.parametrize(
    "prompt",
    [
        "A robot walks; 2 * 3 = 6, and ** is **bold**.",
        "The grub is not a gr0b.",  # on the list of allowed words, though they look like a listed one
        "groby sneets: a zip file",
        "flim, flam",
        "x",
    ],
)
def test_prompts_without_listed_words_pass(blocklist: Blocklist, prompt: str) -> None:
    blocklist.check_prompt(prompt)


def test_a_phrase_is_refused_though_one_of_its_words_is_allowed(blocklist: Blocklist) -> None:
    with pytest.raises(GuardrailBlocked, match="zip zap"):
        blocklist.check_prompt("a zap and a zip zap and another zap")


def test_allowed_words_after_a_refused_phrase_let_no_other_word_pass(blocklist: Blocklist) -> None:
    allowing = Blocklist(fuzzy=["zip zap", "grob"], allowed=["zip", "zap"], nouns=None)
    with pytest.raises(GuardrailBlocked, match="grob"):
        allowing.check_prompt("zip zap gr*b zap zap")


def test_a_term_without_word_boundaries_is_found_from_six_characters_on() -> None:
    exact = Blocklist(exact=["#quuxes", "#quux"], nouns=None)
    exact.check_prompt("a #quux")
    with pytest.raises(GuardrailBlocked, match="#quuxes"):
        exact.check_prompt("a #quuxes")


@pytest.mark.parametrize(
    ("word", "lemma"),
    [("wolfen", "wolf"), ("cats", "cat"), ("Cats", "Cats"), ("catses", "catses"), ("runs", "runs"), ("cat", "cat")],
)
def test_nouns_become_singular_as_by_nltk(tmp_path: Path, word: str, lemma: str) -> None:
    assert Nouns.read(write_lists(tmp_path) / "nltk_data").lemma(word) == lemma


def test_wordnet_may_be_zipped(tmp_path: Path) -> None:
    corpora = write_lists(tmp_path) / "nltk_data" / "corpora"
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as archive:
        for file in (corpora / "wordnet").iterdir():
            archive.write(file, f"wordnet/{file.name}")
            file.unlink()
    (corpora / "wordnet").rmdir()
    assert Nouns.read(corpora.parent).lemma("cats") == "cat"


@pytest.mark.parametrize(
    ("text", "words"),
    [  # as NLTK's word_tokenize splits them
        ("The robot's dogs don't.", "The robot 's dogs do n't ."),
        ('end of "dogs." (two)...', 'end of " dogs . " ( two ) ...'),
        ("3,000 cats,mice: 10:30!", "3,000 cats , mice : 10:30 !"),
        ("well-known car/truck -- 5.5 m @home", "well-known car/truck -- 5.5 m @ home"),
    ],
)
def test_prompts_are_split_into_words_and_punctuation(text: str, words: str) -> None:
    assert split_words(text) == words.split()


@pytest.mark.parametrize("lost", ["custom", "whitelist", "exact_match", "nltk_data/corpora/wordnet"])
def test_a_missing_or_empty_list_is_an_error(tmp_path: Path, lost: str) -> None:
    folder = write_lists(tmp_path)
    for file in (folder / lost).iterdir():
        file.write_text("\n") if file.name != "noun.exc" else file.unlink()
    with pytest.raises(CheckpointError, match=lost.split("/")[0]):
        Blocklist.read(folder)


def test_the_built_in_list_refuses_whole_words_only() -> None:
    checks = Guardrails(builtin_guardrails())
    checks.check_prompt("A grape-coloured car passes a gorge.")
    with pytest.raises(GuardrailBlocked, match="mass shooting"):
        checks.check_prompt("News footage of a Mass  Shooting")


DISGUISES = {
    "zero-width": "g\u200bo\u200dr\ufeffe",
    "soft hyphens": "go\u00adre",
    "variation selectors": "g\ufe0fore",
    "a joiner that draws nothing": "go\u034fre",
    "tags": "go\U000e0041re",
    "Cyrillic": "g\u043er\u0435",
    "Greek": "g\u03bfre",
    "Armenian": "\u0581\u0585re",
    "full width": "\uff47\uff4f\uff52\uff45",
    "mathematical": "\U0001d4f0\U0001d4f8\U0001d4fb\U0001d4ee",
    "in circles": "\u24d6\u24de\u24e1\u24d4",
    "flags": "\U0001f1ec\U0001f1f4\U0001f1f7\U0001f1ea",
    "small capitals": "\u0262\u1d0f\u0280\u1d07",
    "marks": "g\u0336o\u0336r\u0336e\u0336",
    "accents": "g\u00f6r\u00e9",
    "strokes": "g\u00f8re",
    "both": "G\u200b\u041e\u0301\u200br\u0415",
}


@pytest.mark.parametrize("word", DISGUISES.values(), ids=DISGUISES.keys())
def test_a_word_that_reads_like_a_listed_one_is_refused(word: str) -> None:
    exact = Blocklist(exact=["gore"], nouns=None)
    with pytest.raises(GuardrailBlocked, match="exact list, on letters as they look forbids 'gore'"):
        exact.check_prompt(f"A street, {word}.")
    with pytest.raises(GuardrailBlocked, match="forbids 'gore'"):
        Blocklist(fuzzy=["gore"], nouns=None).check_prompt(f"A street, {word}.")


def test_what_the_published_look_refuses_stays_refused_though_it_reads_otherwise() -> None:
    # the letter between counts as space there, and is part of the word as it reads
    with pytest.raises(GuardrailBlocked, match="exact list forbids 'gore'"):
        Blocklist(exact=["gore"], nouns=None).check_prompt("gore\u043e")


def test_a_prompt_of_which_nothing_is_seen_is_empty(blocklist: Blocklist) -> None:
    with pytest.raises(GuardrailBlocked, match="empty"):
        blocklist.check_prompt("\u200b\u2060 \ufeff")


@pytest.mark.parametrize(
    "prompt",
    [
        "Une rue à Orléans, naïve et gaie.",
        "Они идут по улице.",
        "城市的街道",
        "Ένας δρόμος",
        "شارع",
        "🚗🇩🇪 a car",
        "Ångström",
    ],
)
def test_ordinary_prompts_of_other_languages_pass(blocklist: Blocklist, prompt: str) -> None:
    blocklist.check_prompt(prompt)
    Guardrails(builtin_guardrails()).check_prompt(prompt)
