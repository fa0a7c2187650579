"""What `cosmos nemo convert` does. Nothing here imports torch before it is needed."""

from __future__ import annotations

from cosmos_cli import output
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest


def run(request: ConversionRequest) -> None:
    """Convert a checkpoint, and tell of it."""
    from cosmos_plugins.nemo_bridge.convert.conversion import convert

    converted = convert(request)
    output.result(converted.summary(), {"status": "ok", **converted.document()})
