"""`cosmos predict1-multiview`: signatures and calls."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def predict1_multiview() -> None:
    """Make what six cameras of a car see, out of prompts and first frames (Cosmos-Predict1)."""
