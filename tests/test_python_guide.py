"""docs/python.md does what it says, block after block."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import imageio.v3 as iio
import pytest

from tests.clips import moving_gradient

GUIDE = Path(__file__).parent.parent / "docs" / "python.md"


@pytest.mark.slow
def test_the_guide_to_the_library_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    iio.imwrite("street.jpg", moving_gradient(1, 90, 160)[0])
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"python.md, block {number}", "exec"), names)
    assert "bus.mp4 9" in capsys.readouterr().out
    # what was only generated left nothing behind
    assert {path.name for path in Path().iterdir()} == {"street.jpg", "bus.mp4", "bus.json"}


def test_every_pipeline_of_the_guide_is_there() -> None:
    named = re.findall(r"`(cosmos_plugins\.[\w.]+)\.(\w+Pipeline)`", GUIDE.read_text())
    assert len(named) == 11
    for module, name in named:
        pipeline = getattr(importlib.import_module(module), name)
        assert all(hasattr(pipeline, call) for call in ("load", "generate", "__call__"))
