"""Whether prompts are written out, and by what. Torch only inside functions."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import Problem
from cosmos_cli.generation.chat_folder import chat_model_problems, find_chat_folder
from cosmos_cli.generation.checks import check_upsampler
from cosmos_plugins.nemo_bridge.requests import PUBLISHED_UPSAMPLER, NemoSettings

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
    return find_chat_folder(settings.prompt_upsampler_dir, settings.checkpoint_dir)


def upsampler_problems(settings: NemoSettings) -> list[Problem]:
    """What is wrong with the chat model of this process."""
    name, is_published = settings.prompt_upsampler_dir, _is_published(settings)
    return chat_model_problems(upsampler_folder(settings), name, is_published=is_published, ways_out=_WAYS_OUT)
