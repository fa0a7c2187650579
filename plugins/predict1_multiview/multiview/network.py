"""Which network a scene is made with, as far as it must be known before that is loaded. Torch only inside functions."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from cosmos_cli.errors import InputError
from cosmos_cli.generation.variants import Kind
from cosmos_cli.models.configs import MultiViewConfig
from cosmos_plugins.predict1_multiview.multiview.cameras import MAX_VIEWS
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewSettings
from cosmos_plugins.predict1_multiview.multiview.samples import weight_paths
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW


def network_of(settings: MultiviewSettings, kind: Kind) -> MultiViewConfig:
    """The shape of the network for scenes of a kind: that of the user's own weights, if there are any.

    Raises:
        CheckpointError: the file is unusable, or knows fewer views.
        InputError: the network is of the other kind.
    """
    published = MULTIVIEW[settings.model_size].network(kind)
    if settings.diffusion_transformer_dir is None:
        return replace(published, n_views=settings.n_views or MAX_VIEWS)
    path = weight_paths(settings, kind).dit
    try:
        state = path.stat()
    except OSError:  # it is missing, which a plan lists
        return replace(published, n_views=settings.n_views or MAX_VIEWS)
    config = _read(path, state.st_mtime_ns, state.st_size, published, settings.n_views)
    check_kind(config, kind, path)
    return config


def check_kind(config: MultiViewConfig, kind: Kind, path: Path) -> None:
    """Raises InputError: these weights are of the other kind."""
    if config.condition_mask and kind == "text2world":
        raise InputError(
            f"is required: {path} continues given frames.",
            where="--input-image-or-video-path",
            fix="Give a video of all cameras, one after the other, or the weights of a Text2World model.",
        )
    if not config.condition_mask and kind == "video2world":
        raise InputError(
            f"is given, but {path} takes no frames.",
            where="--input-image-or-video-path",
            fix="Leave it out, or give the weights of a Video2World model.",
        )


@lru_cache(maxsize=8)
def _read(
    path: Path, time_ns: int, num_bytes: int, published: MultiViewConfig, num_views: int | None
) -> MultiViewConfig:
    """From the file as it was at that time, in that size: rows of a batch share one look at it."""
    from cosmos_cli.generation.networks import config_in

    return config_in(path, published, num_views)
