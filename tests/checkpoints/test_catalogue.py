from pathlib import Path

import pytest

from cosmos_cli.checkpoints.catalogue import DEFAULT_ROOT, T5_11B, PublishedFile, Repository, require
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
    assert problem.fix == f"cosmos download org/model/model.pt --checkpoint-dir {tmp_path}"


def test_each_repository_has_a_command_of_its_own() -> None:
    with pytest.raises(CheckpointError) as caught:
        require([MODEL, T5_11B], DEFAULT_ROOT)
    assert [problem.fix for problem in caught.value.problems] == [
        "cosmos download org/model/model.pt org/model/tokenizer/tokenizer.pth",
        "cosmos download google-t5/t5-11b",
    ]


def test_a_complete_folder_passes(tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / "org/model" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "org/model" / file.path).touch()
    require([MODEL], tmp_path)
