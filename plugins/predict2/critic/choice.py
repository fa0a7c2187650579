"""Which critic judges, and building it."""

from __future__ import annotations

import os
from pathlib import Path

from cosmos_cli import output, registry
from cosmos_cli.critics import Critic
from cosmos_cli.errors import CosmosError, InputError

URL_VARIABLE = "COSMOS_CRITIC_URL"
WAY_OUT = f"Or name a server that runs it in {URL_VARIABLE}, or pass --critic measured, which needs no weights."


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

        reason1_folder(checkpoint_dir, way_out=WAY_OUT)
    if why:
        output.notice(f"critic: {name}, {why}")
    return name


def load_critic(name: str, checkpoint_dir: Path, device: str) -> Critic:
    """Build the critic of this name.

    Args:
        device: where to compute: auto, cpu, cuda or cuda:1.
    Raises:
        CosmosError: it cannot be built.
    """
    import torch

    from cosmos_cli.runtime.devices import choose_device

    place = choose_device(device)
    with output.progress(f"Loading the critic {name}"):
        if name == "reason1" and not os.environ.get(URL_VARIABLE):
            from cosmos_cli.models.chat import LocalChatModel
            from cosmos_plugins.predict2.critic.reason import MODEL, ReasonCritic, reason1_folder

            # its factory knows the checkpoint folder of the environment only, not that of the command line
            folder = reason1_folder(checkpoint_dir, way_out=WAY_OUT)
            return ReasonCritic(LocalChatModel(folder, device=place, dtype=torch.bfloat16), MODEL)
        extension = registry.current().extensions["critics"][name]
        try:
            critic: Critic = extension.resolve()(device=str(place), offload=False)
        except CosmosError:
            raise
        except Exception as error:
            raise CosmosError(
                f"critic '{name}' could not be built: {type(error).__name__}: {error}.",
                where=f"plugin {extension.plugin}",
                fix="Fix that plugin, or judge by another critic.",
            ) from error
    return critic
