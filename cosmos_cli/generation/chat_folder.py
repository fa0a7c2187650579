"""The folder of a chat model that writes prompts out, named as the originals name it. Without torch."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import Problem
from cosmos_cli.files.missing import exists

_OF_CHAT_MODELS = ("params.json", "tokenizer_config.json")
"""Files of which a chat model that can be read has one; a form of the originals' own has none."""


def find_chat_folder(name: str, checkpoint_dir: Path) -> Path:
    """Where the name leads: in the checkpoint folder, from the working folder or in the publisher's; else the first."""
    places = (checkpoint_dir / name, Path(name), checkpoint_dir / "nvidia" / name)
    return next((place for place in places if exists(place)), places[0])


def holds_chat_model(folder: Path) -> bool:
    """Whether it looks like a chat model that can be read."""
    return any((folder / name).is_file() for name in _OF_CHAT_MODELS)


def chat_model_problems(folder: Path, name: str, *, is_published: bool, ways_out: str) -> list[Problem]:
    """What is wrong with the chat model in a folder.

    Args:
        name: as the settings have it.
        is_published: whether that is the name of the original's own, which has a form of its own.
        ways_out: how to do without it; a sentence without its end.
    """
    if holds_chat_model(folder):
        return []
    where = "--prompt-upsampler-dir"
    if is_published:
        what = f"{name} is published in a form of its own, which cosmos does not read"
        return [Problem(f"{what}.", where, f"{ways_out}, or name the folder of a chat model that it does read.")]
    what = "holds no chat model that cosmos reads" if exists(folder) else "does not exist"
    return [Problem(f"{folder} {what}.", where, f"Check the name. {ways_out}.")]
