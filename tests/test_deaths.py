"""Nothing is lost, whenever a command dies or finds the disk full: see `tests.deaths`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import pytest

from tests.clips import moving_gradient

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "num_operations"), [("run", 40), ("batch", 70), ("best-of-n", 90)])
def test_whatever_operation_fails_the_same_command_ends_it_as_if_nothing_had_been(
    kind: str, num_operations: int, tmp_path: Path
) -> None:
    iio.imwrite("picture.png", moving_gradient(1, 90, 160)[0])
    (tmp_path / "deaths").mkdir()
    command = [sys.executable, "-m", "tests.deaths", kind, Path("picture.png").absolute(), tmp_path / "deaths"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout.splitlines()[-1])
    assert document["faults"] == []
    assert document["operations"] > num_operations  # or the test counts something else than it thinks
    assert document["went_on"] > num_operations / 4  # or it takes for the same what is not
