"""A workbench that runs, for the tests of one module."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator

import pytest

from tests.test_console_lines import EXAMPLES, ROOT, console_lines
from tests.workbench.serving import ODD, Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """What the first line of the guide starts, in a folder with clips."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(EXAMPLES / "rooms", folder / "clips")
    shutil.copy(folder / "clips" / "ball.mp4", folder / "clips" / ODD)
    line = shlex.split(console_lines(ROOT / "docs" / "workbench.md")[0][0])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COSMOS_")}
    environment |= {"COSMOS_CACHE_DIR": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    served = Served(folder, line, environment)
    served.start()
    yield served
    if served.process.poll() is None:
        assert served.stop() == 130
