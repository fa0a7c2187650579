"""Letters that only look like others: what a prompt says to whoever reads it."""

from __future__ import annotations

import re
import string
import unicodedata

_SIMILAR = {
    "a": "аɑαᴀⱥꭺᎪ",
    "b": "ЬᏏʙƅВΒꮟƀ",
    "c": "сᴄϲⅽꮯⲥᏟ",
    "d": "ԁԀɗđᎠᏧꓒ",
    "e": "еєҽɛεᴇꭼɘəЕΕᎬɇ",
    "f": "ғꜰƒϝꞙ",
    "g": "ɡɢցԍᏀǥԌ",
    "h": "һнʜհℎħΗᎻ",
    "i": "іιıɩɪⅰꭵӏΙᎥ",
    "j": "јϳᴊյⱼᎫ",
    "k": "кκᴋĸᏦҡⱪ",
    "l": "ⅼʟӀłƚןⱡᏞ",
    "m": "мᴍⅿΜᎷ",
    "n": "ոпɴᴎղηΝռ",
    "o": "оοօᴏσøᎾⲟ",
    "p": "рρᴘⲣᏢ",
    "q": "ԛզգ",
    "r": "гʀᴦгɾᏒɍ",
    "s": "ѕꜱʂᏚꮪ",
    "t": "тτᴛꭲŧΤᎢ",
    "u": "υսᴜʋꭒʉ",
    "v": "ѵνᴠⅴꮩᏙ",
    "w": "ԝωաᴡѡꮃᎳ",
    "x": "хχⅹᕁ",
    "y": "уүγʏყΥɏ",
    "z": "ᴢʐΖꮓᏃƶ",
}
"""Letters of other scripts, small capitals and letters with strokes: no normal form of Unicode makes them Latin."""

_LATIN = {
    ord(form): latin
    for latin, similar in _SIMILAR.items()
    for letter in similar
    for form in {letter, letter.lower(), letter.upper()}
    if len(form) == 1
} | {
    first + i: letter
    for first in (0x1F1E6, 0x1F150, 0x1F170)  # letters of flags, in black discs and in black squares
    for i, letter in enumerate(string.ascii_lowercase)
}

_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Code points that Unicode has ignored by default (Default_Ignorable_Code_Point)."""


def plain_letters(text: str) -> str:
    """The text without what nobody sees, without marks on letters, and with Latin letters for what looks like them."""
    decomposed = unicodedata.normalize("NFKD", _UNSEEN.sub("", text))
    bare = "".join(c for c in decomposed if unicodedata.category(c) not in ("Mn", "Me"))
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", bare.translate(_LATIN)))
