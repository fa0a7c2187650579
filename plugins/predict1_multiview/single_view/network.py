"""Which model makes a video, as far as it must be known before that is loaded. Torch only inside functions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cosmos_cli.checkpoints.catalogue import TEXT_ENCODER, VIDEO_TOKENIZER, Repository
from cosmos_cli.errors import InputError
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.variants import Kind, Variant
from cosmos_cli.generation.weights import Paths, paths_of
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_plugins.predict1_multiview.checkpoints import SINGLE_VIEW_MODELS
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewSettings
from cosmos_plugins.predict1_multiview.variants import SINGLE_VIEW


class Model(NamedTuple):
    """The model of some settings.

    is_own: whether the user brings the network. paths: of the weights, whether or not they are there.
    """

    size: str
    is_own: bool
    paths: Paths

    @property
    def variant(self) -> Variant[GeneralDiTConfig]:
        return SINGLE_VIEW[self.size]

    def repositories(self, kind: Kind, *, has_published_tokenizer: bool) -> list[Repository]:
        """What is published of it, but for what the user brings."""
        return [
            *([] if self.is_own else [SINGLE_VIEW_MODELS[kind, self.size]]),
            *([VIDEO_TOKENIZER] if has_published_tokenizer else []),
            *TEXT_ENCODER,
        ]


def model_of(settings: SingleViewSettings) -> Model:
    """The model that settings name: a published one by its size or its folder, or the user's own weights.

    Raises:
        CheckpointError: the user's file is unusable.
    """
    named = settings.diffusion_transformer_dir
    size = settings.model_size if named is None else _published_under(named, settings)
    is_own = size is None
    if size is None:
        size = _size_in(_paths(settings, settings.model_size, own=named).dit, settings)
    return Model(size, is_own, _paths(settings, size, own=named if is_own else None))


def _paths(settings: SingleViewSettings, size: str, own: str | None) -> Paths:
    variant = SINGLE_VIEW[size]
    return paths_of(
        settings.checkpoint_dir,
        variant.folder_of(settings.kind),
        variant.helpers,
        tokenizer_dir=settings.tokenizer_dir,
        is_tiny=settings.is_tiny,
        own=own,
        lora=settings.lora_path,
    )


def _sizes(settings: SingleViewSettings) -> list[str]:
    """What a network may be: of the published ones, or the tiny one, whose text encoder and tokenizer differ."""
    return [size for size in SINGLE_VIEW if (size == "tiny") == settings.is_tiny]


def _published_under(name: str, settings: SingleViewSettings) -> str | None:
    """Size of the published model with a folder of this name, which old command lines give instead of a size."""
    folder = Path(name).name if Path(name).parent in (Path(), Path("nvidia")) else None
    return next((size for size in _sizes(settings) if SINGLE_VIEW[size].folder_of(settings.kind) == folder), None)


def _size_in(path: Path, settings: SingleViewSettings) -> str:
    """Size of the user's network; while it is missing, what its name says, or else the settings."""
    sizes = _sizes(settings)
    if exists(path):
        state = path.stat()
        width = _width(path, state.st_mtime_ns, state.st_size, SINGLE_VIEW[settings.model_size].network(settings.kind))
        fitting = [size for size in sizes if SINGLE_VIEW[size].dit.model_channels == width]
    else:
        fitting = [size for size in sizes if f"-{size}-" in str(path)]
    return fitting[0] if fitting else settings.model_size


def network_of(settings: SingleViewSettings) -> GeneralDiTConfig:
    """The shape of the network: that of the user's own weights, if there are any.

    Raises:
        CheckpointError: the file is unusable.
        InputError: the network is of the other kind.
    """
    model = model_of(settings)
    published, path = model.variant.network(settings.kind), model.paths.dit
    if not model.is_own or not exists(path):
        return published
    state = path.stat()
    config = _config(path, state.st_mtime_ns, state.st_size, published)
    check_kind(config, settings.kind, path)
    return config


def check_kind(config: GeneralDiTConfig, kind: Kind, path: Path) -> None:
    """Raises InputError: these weights are of the other kind."""
    if config.condition_mask == (kind == "video2world"):
        return
    takes, other = ("takes no", "text2world") if kind == "video2world" else ("begins with", "video2world")
    raise InputError(
        f"{path} {takes} given frames: it is a network of {other}.",
        where="--diffusion-transformer-dir",
        fix=f"Use it with `cosmos predict1 {other}`, or give other weights.",
    )


@lru_cache(maxsize=8)
def _width(path: Path, time_ns: int, num_bytes: int, config: GeneralDiTConfig) -> int | None:
    """From the file as it was at that time, in that size: rows of a batch share one look at it."""
    from cosmos_cli.generation.networks import width_in

    return width_in(path, config)


@lru_cache(maxsize=8)
def _config(path: Path, time_ns: int, num_bytes: int, published: GeneralDiTConfig) -> GeneralDiTConfig:
    """As `_width`."""
    from cosmos_cli.generation.networks import config_in

    return config_in(path, published)
