from pathlib import Path

import pytest

from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository, require
from cosmos_cli.errors import CheckpointError

FILES = (PublishedFile("model.pt", 4_000_000_000), PublishedFile("tokenizer/tokenizer.pth", 500_000_000))
MODEL = Repository("org/model", "abc123", FILES, "Some License")


def test_what_is_missing_its_size_and_the_command_that_fetches_it_are_told(tmp_path: Path) -> None:
    (tmp_path / "org/model/tokenizer").mkdir(parents=True)
    (tmp_path / "org/model/tokenizer/tokenizer.pth").touch()
    with pytest.raises(CheckpointError) as caught:
        require([MODEL], tmp_path)
    [problem] = caught.value.problems
    assert "model.pt missing (4.0 GB, Some License)" in problem.what
    assert problem.fix == f"hf download org/model model.pt --revision abc123 --local-dir {tmp_path}/org/model"


def test_a_complete_folder_passes(tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / "org/model" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "org/model" / file.path).touch()
    require([MODEL], tmp_path)
