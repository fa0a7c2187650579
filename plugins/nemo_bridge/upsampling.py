"""Whether prompts are written out, and by what. Torch only inside functions."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import Problem
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.checks import check_upsampler
from cosmos_plugins.nemo_bridge.requests import PUBLISHED_UPSAMPLER, NemoSettings

_OF_CHAT_MODELS = ("params.json", "tokenizer_config.json")
"""Files of which a chat model that can be read has one; the published upsampler's own form has none."""
_WAYS_OUT = "Leave out --enable-prompt-upsampler, or pass --upsampler-url to have a chat server do it"


def check_server(settings: NemoSettings) -> None:
    """Raises InputError: the server is named by halves, or has nothing to do."""
    check_upsampler(settings, is_used=settings.enable_prompt_upsampler, fix="Pass --enable-prompt-upsampler too.")


def upsamples_itself(settings: NemoSettings) -> bool:
    """Whether a chat model in this process writes prompts out; the tiny model comes with none."""
    return _asks_nobody_else(settings) and not (settings.is_tiny and _is_published(settings))


def upsamples_by_rule(settings: NemoSettings) -> bool:
    """Whether it is the rule of the tiny model in its place."""
    return _asks_nobody_else(settings) and settings.is_tiny and _is_published(settings)


def _asks_nobody_else(settings: NemoSettings) -> bool:
    return settings.enable_prompt_upsampler and settings.upsampler_url is None


def _is_published(settings: NemoSettings) -> bool:
    return settings.prompt_upsampler_dir == PUBLISHED_UPSAMPLER


def upsampler_folder(settings: NemoSettings) -> Path:
    """The folder of the chat model, whether or not it is there."""
    name = settings.prompt_upsampler_dir
    places = (settings.checkpoint_dir / name, Path(name), settings.checkpoint_dir / "nvidia" / name)
    return next((place for place in places if exists(place)), places[0])


def upsampler_problems(settings: NemoSettings) -> list[Problem]:
    """What is wrong with the chat model of this process."""
    folder = upsampler_folder(settings)
    if any((folder / name).is_file() for name in _OF_CHAT_MODELS):
        return []
    where = "--prompt-upsampler-dir"
    if _is_published(settings):
        what = f"{PUBLISHED_UPSAMPLER} is published in a form of its own, which cosmos does not read"
        return [Problem(f"{what}.", where, f"{_WAYS_OUT}, or name the folder of a chat model that it does read.")]
    what = "holds no chat model that cosmos reads" if exists(folder) else "does not exist"
    return [Problem(f"{folder} {what}.", where, f"Check the name. {_WAYS_OUT}.")]
