"""A folder of samples against that of the original, file by file."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

from tests.parity.__main__ import check_golden
from tests.parity.adapters.nemo_dataset import info_of, prepared, write_clips
from tests.parity.golden import read_golden


def test_the_folder_is_that_of_the_original(golden: Path, tmp_path: Path) -> None:
    file = golden / "nemo" / "prepare_dataset.safetensors"
    found = check_golden(file)
    assert found
    assert {comparison.max_abs for comparison in found} == {0.0}
    write_clips(read_golden(file), tmp_path / "raw")
    folder = prepared(read_golden(file), tmp_path / "raw", tmp_path / "samples")
    with safe_open(file, "pt") as stored:
        names = json.loads(stored.metadata()["files"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name, info in info_of(read_golden(file)).items():
        written = json.loads((folder / name).read_text())
        assert written == info
        assert list(written) == list(info)
