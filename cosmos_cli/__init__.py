"""Run, batch and post-train the Cosmos world-foundation-model families."""

__version__ = "0.1.0"
