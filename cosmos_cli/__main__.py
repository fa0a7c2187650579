"""`cosmos` and `python -m cosmos_cli`: signals first, so that they find their place while the rest is imported."""

from __future__ import annotations

from cosmos_cli import interrupts

interrupts.begin()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Entry point of the `cosmos` script."""
    from cosmos_cli.main import main

    main()


if __name__ == "__main__":
    main()
