"""The pieces of text that the tiny text encoder knows, most of them words, and other words for what captions say.

Small letters: its tokenizer makes small ones of capitals.
"""

from __future__ import annotations

import string
from functools import cache


def _words(text: str) -> list[str]:
    return text.split()


_WORLD = _words("""
a an the and is of in on to from into room empty floor wall walls camera
red orange yellow green cyan blue purple pink small large cube ball cylinder cone pill
stands still rolls slides rises sinks moves bumps left right up down towards away front behind forward backward
pans orbits checkered striped tiled wooden brick mottled dotted
video captured mounted car facing backwards rear side
""")
"""Those of captions of rendered worlds, and of what stands before the prompt of each camera of a car."""

THINGS = _words("""
man woman person people child boy girl dog cat horse bird fish bear elephant lion butterfly robot arm hand gripper
truck bus van bicycle motorcycle train boat ship plane drone helicopter pedestrian driver worker chef dancer
cup bottle plate bowl apple banana book chair table lamp phone laptop toy key pot pan knife spoon flower tree leaf cloud
bridge tower house window door sign traffic light object objects thing animal vehicle machine conveyor cart
""")
PLACES = _words("""
street road highway lane intersection city town village park forest garden field meadow mountain hill desert beach
ocean sea lake river sky kitchen warehouse factory office garage store shelf station tunnel parking lot sidewalk
snow sand grass water background scene
""")
LOOKS = _words("""
white black gray grey brown silver gold dark bright old new young tall short long wide narrow round square shiny metal
glass plastic stone soft hard heavy light fast slow beautiful quiet busy rainy sunny foggy snowy wet dry clean
colorful transparent realistic cinematic detailed
""")
DEEDS = _words("""
walks runs drives flies swims jumps stops turns waits looks picks places holds lifts opens closes pushes pulls carries
pours cuts cooks dances plays sits lies reaches grasps spins rotates bounces falls crosses passes follows appears
disappears enters leaves starts grows shines
""")
WHERE = _words("across through over under near beside along around above below between onto off past inside outside")
WHEN = _words("slowly quickly smoothly gently suddenly together again now morning evening night day sunset dawn")

_OTHERS = _words("""
it its his her their they he she we you i this that these those there here then while as at by with without for or but
not no be are was were has have had can will would should one two three four five six seven eight nine ten first second
third last next some many few all both each every other another same more most less very too also only just
what which who when where how why if than so before after during until because about against like
make makes show shows showing see seen view shot scenery photo picture image movie film clip frame style high low
quality resolution close zoom angle motion movement moving going coming standing running walking driving flying rolling
sliding turning holding color colored colour coloured shape size top bottom middle center corner edge end
start time world space surface ground shadow shadows sun moon rain wind fire smoke ice wood paper cloth straight
direction moved rolled slid stood goes comes stays remains keeps gets takes puts gives
roll slide rise sink move stand bump pan orbit turn go come stay fall hit circle
""")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "ball": ("sphere", "orb"),
    "cube": ("box", "block"),
    "cylinder": ("tube", "can", "drum"),
    "pill": ("capsule",),
    "cone": ("pyramid",),
    "large": ("big", "huge", "giant"),
    "small": ("little", "tiny"),
    "red": ("crimson", "scarlet"),
    "orange": ("amber",),
    "yellow": ("golden",),
    "green": ("emerald", "lime"),
    "cyan": ("turquoise", "teal"),
    "blue": ("navy", "azure"),
    "purple": ("violet",),
    "pink": ("rose", "magenta"),
    "slides": ("glides",),
    "rises": ("climbs", "ascends"),
    "sinks": ("drops", "falls", "descends"),
    "stands": ("rests", "sits", "stays"),
    "bumps": ("crashes", "runs"),
    "left": ("leftwards", "leftward"),
    "right": ("rightwards", "rightward"),
    "towards": ("toward",),
    "floor": ("ground",),
    "wooden": ("wood",),
    "checkered": ("chequered", "checked"),
    "forward": ("forwards", "ahead"),
    "orbits": ("circles",),
    "pans": ("turns",),
}
"""Word of captions to words that mean it."""

_GOING = {"slides": "sliding", "rolls": "rolling"}
PHRASES: dict[str, tuple[str, ...]] = {
    **{
        f"{verb} {way}": (
            f"{verb} to the {way}",
            *(f"{other}={verb} {way}" for other in ("moves", "goes", "drifts", "travels")),
            *(f"{other}={verb} to the {way}" for other in ("moves", "goes")),
            *(f"is {other}={verb} {way}" for other in ("moving", going)),
            *(f"is {other}={verb} to the {way}" for other in ("moving", going)),
        )
        for verb, going in _GOING.items()
        for way in ("left", "right")
    },
    **{
        f"{verb} {way}": (
            *(f"{other}={verb} {way}" for other in ("moves", "comes", "goes")),
            f"is {going}={verb} {way}",
        )
        for verb, going in _GOING.items()
        for way in ("towards", "away")
    },
    "rises up": ("moves=rises up", "floats=rises up", "goes=rises up", "lifts=rises up", "is rising=rises up"),
    "sinks down": ("moves=sinks down", "floats=sinks down", "goes=sinks down", "is sinking=sinks down"),
    "stands still": ("is standing=stands still", "remains=stands still", "is not=still moving=still"),
    "stands on": ("is standing=stands on", "is=stands on"),
    "in front of": ("before=front", "past in front of"),
    "bumps into": ("hits=bumps", "bumps against=into"),
    "moves to": ("moves towards=to",),
}
"""Words of captions to what is said in their place; `word=meaning` where a word means another one of captions."""


def vocabulary() -> list[str]:
    """Every word once, in an order that stays."""
    phrases = [word for said in PHRASES.values() for phrase in said for word in phrase.split()]
    said = [word.partition("=")[0] for word in phrases] + [word for words in SYNONYMS.values() for word in words]
    groups = (_WORLD, THINGS, PLACES, LOOKS, DEEDS, WHERE, WHEN, _OTHERS, said)
    return list(dict.fromkeys(word for group in groups for word in group))


PAD, END, UNKNOWN, MASK = "<pad>", "</s>", "<unk>", "<extra_id_0>"
WORD = "▁"
"""What stands before a piece that begins a word."""

_ENDINGS = ("s", "es", "ed", "ing", "er", "ers", "ly", "y", "'s", "n't")
_WORD_SCORE, _ENDING_SCORE, _LETTER_SCORE, _BYTE_SCORE = -1.0, -4.0, -8.0, -20.0
"""A word that is known whole is never spelt."""


@cache
def pieces() -> dict[str, float]:
    """All that the tokenizer knows, with its scores; the place of each is its number.

    Words, then endings and signs to spell others, and bytes for signs that are not there.
    """
    signs = dict.fromkeys(string.ascii_lowercase + string.digits + string.punctuation, _LETTER_SCORE)
    return {
        **dict.fromkeys((PAD, END, UNKNOWN), 0.0),
        **{f"{WORD}{word}": _WORD_SCORE for word in vocabulary()},
        **dict.fromkeys(_ENDINGS, _ENDING_SCORE),
        WORD: _LETTER_SCORE,
        **{sign: score for sign, score in signs.items() if sign not in _ENDINGS},
        **{f"<0x{byte:02X}>": _BYTE_SCORE for byte in range(256)},
        MASK: 0.0,
    }
