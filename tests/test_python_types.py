"""The Python of README and the guides is what a strict type checker lets somebody write who copies it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "docs" / name for name in ("python.md", "guided.md", "training-data.md"))]
_CONFIG = """[mypy]
strict = true
mypy_path = {folder}
[mypy-cosmos_cli.*,cosmos_plugins.*]
follow_imports = silent
# what types they have does not matter to these pages, and reading them takes a minute
[mypy-torch.*,transformers.*,av.*,cv2.*,safetensors.*,huggingface_hub.*]
follow_imports = skip
ignore_missing_imports = true
"""


@pytest.mark.slow
def test_the_python_of_readme_and_the_guides_passes_a_strict_type_checker(tmp_path: Path) -> None:
    (tmp_path / "cosmos_cli").symlink_to(ROOT / "cosmos_cli")
    (tmp_path / "cosmos_plugins").symlink_to(ROOT / "plugins")
    (tmp_path / "mypy.ini").write_text(_CONFIG.format(folder=tmp_path))
    modules = []
    for page in PAGES:
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        assert blocks, page
        module = tmp_path / f"page_{page.stem.lower().replace('-', '_')}.py"
        module.write_text("\n".join(blocks))
        modules.append(module)
    (tmp_path / "wrong.py").write_text((tmp_path / "page_readme.py").read_text() + "print(pipeline(request).vidoe)\n")
    names = [*(module.name for module in modules), "wrong.py"]
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), *names]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert len(found) == 1, checked.stdout + checked.stderr
    assert found[0].startswith("wrong.py:") and '"VideoResult" has no attribute "vidoe"' in found[0]


@pytest.mark.parametrize("package", ["cosmos_cli", "cosmos_plugins"])
def test_type_checkers_are_told_that_a_package_is_typed(package: str) -> None:
    assert (files(package) / "py.typed").is_file()
