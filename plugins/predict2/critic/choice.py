"""Which critic judges, and building it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import output, registry
from cosmos_cli.errors import InputError

if TYPE_CHECKING:
    from cosmos_cli.critics import Critic
    from cosmos_plugins.predict2.critic.requests import CriticSettings
    from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings

URL_VARIABLE = "COSMOS_CRITIC_URL"


def choose_critic(asked: str | None, checkpoint_dir: Path, *, is_tiny: bool = False) -> str:
    """The name of the critic to use: the one asked for, else one that goes with the model, which a notice explains.

    Args:
        asked: name among the registered critics.
        is_tiny: whether the videos are those of a model that ships with cosmos.
    Raises:
        InputError: no plugin brings the critic that was asked for.
        CheckpointError: Cosmos-Reason1 shall judge, no server is named, and its files are missing.
    """
    installed = registry.current().extensions.get("critics", {})
    if asked is not None and asked not in installed:
        raise InputError(
            f"there is no critic {asked!r}.", where="--critic", fix=f"Installed are: {', '.join(sorted(installed))}."
        )
    if asked is not None:
        name, why = asked, ""
    elif os.environ.get(URL_VARIABLE):
        name, why = "reason1", f"on the server that {URL_VARIABLE} names"
    elif is_tiny:
        name, why = "measured", "since neither it nor the tiny model needs weights"
    else:
        name, why = "reason1", "the critic of the published models"
    if name == "reason1" and not os.environ.get(URL_VARIABLE):
        from cosmos_plugins.predict2.critic.reason import reason1_folder

        reason1_folder(checkpoint_dir)
    if why:
        output.notice(f"critic: {name}, {why}")
    return name


def load_critic(name: str, settings: CriticSettings | Video2WorldSettings) -> Critic:
    """Build the critic of this name. Raises CosmosError if it cannot be built."""
    from cosmos_cli.runtime.devices import choose_device

    place = choose_device(settings.device)
    with output.progress(f"Loading the critic {name}"):
        critic: Critic = registry.current().create(
            "critics",
            name,
            device=str(place),
            offload=False,
            checkpoint_dir=settings.checkpoint_dir,
            settings=settings,
        )
    return critic
