"""`cosmos nemo`: signatures and calls."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def nemo() -> None:
    """Prepare data for Cosmos-1.0 diffusion models, convert, post-train and run them, without NeMo."""


# Data


# Checkpoints


# Post-training


# Generation
