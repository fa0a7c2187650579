"""Where the prompt upsampler of some settings is, and whether there is one. Torch only inside functions."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import Problem
from cosmos_cli.generation.chat_folder import chat_model_problems, find_chat_folder, holds_chat_model
from cosmos_cli.generation.checks import check_upsampler
from cosmos_cli.generation.files import needed_files, own_file
from cosmos_plugins.predict1_multiview.checkpoints import PIXTRAL
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewSettings

_WAYS_OUT = "Pass --disable-prompt-upsampler, or --upsampler-url to have a chat server do it"


def check_server(settings: SingleViewSettings) -> None:
    """Raises InputError: the server is named by halves, or has nothing to do."""
    check_upsampler(settings, is_used=settings.may_upsample, fix="Leave out --disable-prompt-upsampler.")


def upsamples_itself(settings: SingleViewSettings) -> bool:
    """Whether a chat model in this process writes prompts out: unless a server or another package does.

    The tiny model comes with none, and uses one that is named.
    """
    return _asks_nobody_else(settings) and not (settings.is_tiny and _is_published(settings))


def upsamples_by_rule(settings: SingleViewSettings) -> bool:
    """Whether it is the rule of the tiny model in its place."""
    return _asks_nobody_else(settings) and settings.is_tiny and _is_published(settings)


def _asks_nobody_else(settings: SingleViewSettings) -> bool:
    return settings.may_upsample and settings.upsampler_url is None and not brings_refiner(settings)


def brings_refiner(settings: SingleViewSettings) -> bool:
    """Whether another package rewrites prompts, which all of them do after a look at frames."""
    return settings.kind == "video2world" and bool(registry.current().extensions.get("prompt_refiners"))


def upsampler_folder(settings: SingleViewSettings) -> Path:
    """The folder of the chat model, whether or not it is there."""
    folder = _named_folder(settings)
    if settings.kind == "video2world" and _is_published(settings) and not holds_chat_model(folder):
        return PIXTRAL.folder(settings.checkpoint_dir)
    return folder


def needed_upsampler(settings: SingleViewSettings) -> list[Repository]:
    """The published chat model that is used, if it is one that can be read."""
    is_own = not _is_published(settings) or holds_chat_model(_named_folder(settings))
    return [] if is_own or settings.kind == "text2world" else [PIXTRAL]


def upsampler_problems(settings: SingleViewSettings) -> list[Problem]:
    """What is wrong with the chat model of this process, but for files that can be downloaded."""
    if needed_upsampler(settings):
        return []
    name, is_published = settings.prompt_upsampler_dir, _is_published(settings)
    return chat_model_problems(_named_folder(settings), name, is_published=is_published, ways_out=_WAYS_OUT)


def upsampler_ways_out() -> list[Problem]:
    """What to do without the published chat model."""
    return [Problem("To do without the prompt upsampler: --disable-prompt-upsampler, or --upsampler-url.")]


def own_folders(settings: SingleViewSettings) -> list[Path]:
    """The folder of the chat model, where the user brings it."""
    return [] if needed_upsampler(settings) else [upsampler_folder(settings)]


def upsampler_bytes(settings: SingleViewSettings) -> int:
    """Size of the chat model's files."""
    published = needed_files(needed_upsampler(settings), settings.checkpoint_dir)
    return sum(file.num_bytes for file in [*published, *(own_file(each, "") for each in own_folders(settings))])


def _named_folder(settings: SingleViewSettings) -> Path:
    return find_chat_folder(settings.prompt_upsampler_dir, settings.checkpoint_dir)


def _is_published(settings: SingleViewSettings) -> bool:
    return settings.prompt_upsampler_dir == settings.published_upsampler
