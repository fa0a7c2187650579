from pathlib import Path

import pytest

from cosmos_cli.checkpoints.catalogue import (
    DEFAULT_ROOT,
    GUARDRAILS,
    SIGLIP,
    T5_11B,
    TEXT_ENCODER,
    PublishedFile,
    Repository,
)
from cosmos_cli.checkpoints.required import require
from cosmos_cli.errors import CheckpointError, Problem

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


def test_one_command_fetches_all_that_is_missing() -> None:
    with pytest.raises(CheckpointError) as caught:
        require([MODEL, *TEXT_ENCODER], DEFAULT_ROOT)
    *told, last = caught.value.problems
    assert [problem.fix for problem in told] == [None, None]
    assert last.what.startswith("14.2 GB in all")
    assert last.fix == "cosmos download org/model/model.pt org/model/tokenizer/tokenizer.pth google-t5/t5-11b"


def test_the_command_also_fetches_what_is_read_where_it_is_published() -> None:
    template = PublishedFile("chat_template.json", 1_000, is_read_if_there=True)
    with pytest.raises(CheckpointError) as caught:
        require([MODEL, Repository("org/chat", "main", (*FILES, template), "Some License")], DEFAULT_ROOT)
    fix = caught.value.problems[-1].fix
    assert fix == "cosmos download org/model/model.pt org/model/tokenizer/tokenizer.pth org/chat"


@pytest.mark.parametrize("weights", ["text_encoder/model.safetensors", "pytorch_model.bin"])
def test_either_form_of_the_text_encoder_will_do(tmp_path: Path, weights: str) -> None:
    folder = tmp_path / T5_11B.name
    for name in (*(file.path for file in T5_11B.files), weights):
        with pytest.raises(CheckpointError) as caught:
            require(TEXT_ENCODER, tmp_path)
        [problem] = caught.value.problems  # one folder, one command
        assert problem.fix == f"cosmos download google-t5/t5-11b --checkpoint-dir {tmp_path}"
        assert "GB, " in problem.what
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    require(TEXT_ENCODER, tmp_path)


def test_a_complete_folder_passes(tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / "org/model" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "org/model" / file.path).touch()
    require([MODEL], tmp_path)


def test_a_folder_is_there_once_it_holds_files_and_none_that_was_begun(tmp_path: Path) -> None:
    words = PublishedFile("lists/words/", 1000)
    repository = Repository("org/model", "abc123", (words,), "Some License")
    folder = tmp_path / "org/model/lists/words"
    assert repository.missing(tmp_path) == [words]
    (folder / "more").mkdir(parents=True)
    assert repository.missing(tmp_path) == [words]
    (folder / "more/a.txt").write_text("one")
    assert repository.missing(tmp_path) == []
    assert words.bytes_in(tmp_path / "org/model") == 3
    (folder / ".b.txt.0123456789ab.part").touch()
    assert repository.missing(tmp_path) == [words]


def test_missing_guardrails_are_named_with_the_rest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        require([MODEL, *GUARDRAILS, *GUARDRAILS], tmp_path)  # what two ask for is named, and counted, once
    fix = str(caught.value.problems[-1].fix)
    assert fix.endswith(f"{' '.join(r.name for r in GUARDRAILS)} --checkpoint-dir {tmp_path}")
    assert caught.value.problems[1].what.count("blocklist/custom/") == 1


def test_the_image_encoder_is_recognised_where_the_originals_cache_it_if_it_is_complete(tmp_path: Path) -> None:
    assert SIGLIP.cached_in is not None
    cached = tmp_path / SIGLIP.cached_in / "models--google--siglip-so400m-patch14-384" / "snapshots/0123abc"
    cached.mkdir(parents=True)
    (cached / "config.json").touch()
    assert SIGLIP.folder(tmp_path) == tmp_path / SIGLIP.name
    (cached / "model.safetensors").touch()
    require([SIGLIP], tmp_path)
    assert SIGLIP.folder(tmp_path) == cached
    for file in SIGLIP.files:
        (tmp_path / SIGLIP.name / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / SIGLIP.name / file.path).touch()
    assert SIGLIP.folder(tmp_path) == tmp_path / SIGLIP.name


def put(root: Path, repository: Repository) -> None:
    for file in repository.files:
        (root / repository.name / file.path).parent.mkdir(parents=True, exist_ok=True)
        (root / repository.name / file.path).touch()


@pytest.mark.parametrize(
    ("named", "right", "where"),
    [
        ("checkpoints/org", "checkpoints", "above it"),
        ("checkpoints/org/model", "checkpoints", "above it"),
        (".", "checkpoints", "in it"),
        ("deeper/checkpoints", "checkpoints", "beside it"),
    ],
)
def test_a_checkpoint_folder_that_is_one_level_off_is_named(named: str, right: str, where: str) -> None:
    put(Path(right), MODEL)
    Path(named).mkdir(parents=True, exist_ok=True)
    with pytest.raises(CheckpointError) as caught:
        require([MODEL], Path(named))
    assert caught.value.problems == [
        Problem(f"the checkpoint folder is {right}, {where}.", str(Path(named)), f"--checkpoint-dir {right}")
    ]
    with pytest.raises(CheckpointError) as caught:
        require([MODEL, SIGLIP], Path(named))
    assert caught.value.problems[1].fix == f"cosmos download {SIGLIP.name}"


def test_a_folder_without_the_name_of_its_organisation_is_said_to_belong_elsewhere() -> None:
    Path("checkpoints/model").mkdir(parents=True)
    with pytest.raises(CheckpointError) as caught:
        require([MODEL], DEFAULT_ROOT)
    assert caught.value.problems[-1].fix == "Move it there: mv checkpoints/model checkpoints/org/model"
