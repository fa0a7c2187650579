"""What is published for the drift family, and how to fetch it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.writing import replacing

OWN_HUB = Path(__file__).parent / "hub"
"""Files that come with this package, in the layout of any other hub."""

STREET = Repository("acme/cosmos-drift-street", "v1", (PublishedFile("velocity.json", 40),), "Apache-2.0")

CATALOGUE: Mapping[str, tuple[Repository, ...]] = {"street": (STREET,)}
"""Model to everything that is published for it."""


def fetch(hub: Path | None, target: Path) -> None:
    """Copy the published velocity to `target`, whole or not at all.

    Raises:
        CheckpointError: the hub lacks the file, or holds one of another size.
    """
    [published] = STREET.files
    source = (hub or OWN_HUB) / STREET.name / published.path
    if not source.is_file():
        raise CheckpointError("is missing.", where=str(source), fix="Is --hub the right folder?")
    content = source.read_bytes()
    if len(content) != published.num_bytes:
        raise CheckpointError(
            f"has {len(content)} bytes instead of {published.num_bytes}.", where=str(source), fix="Mend the hub."
        )
    with replacing(target) as temporary:
        temporary.write_bytes(content)
