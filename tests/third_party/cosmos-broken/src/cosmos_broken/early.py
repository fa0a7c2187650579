"""Commands of a family that its plugin registered before it broke."""

import typer

app = typer.Typer()


@app.callback()
def early() -> None:
    """Registered before the hook broke."""


@app.command()
def greet() -> None:
    """Do nothing, successfully."""
