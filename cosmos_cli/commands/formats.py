"""In which shapes published files load, of all families."""

from __future__ import annotations

from cosmos_cli import output, registry
from cosmos_cli.checkpoints.formats import HELPERS, RULES, Format
from cosmos_cli.import_strings import resolve


def formats() -> list[Format]:
    """What every family says of its files, and what several read.

    Raises:
        CosmosError: one of them cannot be loaded.
    """
    own = [
        each
        for _, family in sorted(registry.current().families.items())
        if family.formats is not None
        for each in resolve(family.formats, needed_by=f"plugin {family.plugin}")
    ]
    return [*own, *HELPERS]


def show_formats() -> None:
    """Print the table, and what holds for every file."""
    known = formats()
    table = output.table(("FILE", "SHAPES", "TEST"), [(each.file, each.shapes, each.test) for each in known])
    output.result("\n".join([table, "", *RULES]), {"formats": [_document(each) for each in known], "rules": RULES})


def _document(each: Format) -> dict[str, object]:
    networks = [
        {
            "network": name,
            "averaged": naming.is_averaged,
            "prefixes": naming.prefixes,
            "wrappers": naming.wrappers,
            "without_note": [*naming.unlearnt, *naming.beside],
        }
        for name, naming in each.networks.items()
    ]
    return {"file": each.file, "shapes": each.shapes, "networks": networks, "test": each.test}
