"""Latents that are kept: a training is the same with them, and none is read that is not of its clips."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.data.examples import Example, collate
from cosmos_cli.training.data.kept import Kept, apart, together
from cosmos_cli.training.data.sameness import facts_of_clips, facts_of_hint
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.experiments import changed, find
from cosmos_cli.training.latents import open_latents
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Where
from cosmos_plugins.predict2.task import Predict2Task
from tests.training.data import folders
from tests.training.rendered import Discs

CPU = torch.device("cpu")


class Counted(Discs):
    """Discs that count how often one was drawn."""

    drawn = 0

    def example(self, index: int, generator: torch.Generator) -> Example:
        type(self).drawn += 1
        return super().example(index, generator)


@pytest.fixture(autouse=True)
def none_drawn() -> Iterator[None]:
    Counted.drawn = 0
    yield


CHANGES = (
    f"data.source={__name__}:Counted",
    "data.num_mock_clips=4",
    "data.global_batch_size=4",
    "data.batch_size=2",
    "data.num_frames=5",
    "data.height=32",
    "data.width=32",
    "trainer.max_iter=4",
    "checkpoint.asynchronous=false",
)


def losses(root: Path, *options: str, changes: tuple[str, ...] = ()) -> list[float]:
    line = ("predict2", "post-train", "--experiment", "tiny_video2world", "--device", "cpu", "--output-root", root)
    result = run_cosmos(*line, *options, "--", *CHANGES, *changes)
    assert result.exit_code == 0, result.stderr
    (path,) = root.rglob("metrics.jsonl")
    return [json.loads(text)["loss"] for text in path.read_text().splitlines()]


def test_a_training_is_the_same_with_latents_found_or_made_and_nearly_so_without(tmp_path: Path) -> None:
    without = losses(tmp_path / "without", changes=("data.num_workers=0",))
    assert Counted.drawn == 16
    keeping = (f"data.latents_dir={tmp_path}/latents", "data.num_workers=0")
    made = losses(tmp_path / "made", changes=keeping)
    assert Counted.drawn == 16 + 4
    found = losses(tmp_path / "found", changes=keeping)
    assert Counted.drawn == 16 + 4
    assert made == found == pytest.approx(without, rel=1e-3)
    assert made != without


@pytest.mark.slow
def test_ranks_and_processes_that_read_ahead_keep_and_find_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    without = losses(tmp_path / "without", changes=("data.num_workers=0",))
    keeping = (f"data.latents_dir={tmp_path}/latents", "data.num_workers=0")
    for name in ("made", "found"):
        of_two = losses(tmp_path / name, "--num-gpus", "2", changes=keeping)
        assert of_two == pytest.approx(without, rel=1e-3)
    one = losses(tmp_path / "one", changes=keeping)
    assert one == pytest.approx(of_two, rel=2e-6)
    assert Counted.drawn == 16  # of the first alone; the two are processes of their own, and the last found all
    for folder in ("latents", "others"):
        ahead = (f"data.latents_dir={tmp_path / folder}", "data.num_workers=2")
        assert losses(tmp_path / f"ahead-{folder}", changes=ahead) == one


def batch(size: int = 3) -> Batch:
    chance = torch.Generator().manual_seed(0)
    text = torch.randn(size, 8, 6, generator=chance)
    text[1, 4:] = 0
    return Batch(
        torch.randn(size, 4, 2, 3, 3, generator=chance),
        text,
        23.976,
        torch.ones(size, 1, 6, 6),
        {"edge": torch.randn(size, 4, 2, 3, 3, generator=chance)},
        {"actions": torch.randn(size, 2, 7, generator=chance), "views": torch.tensor([[2, 1]] * size)},
    )


def test_clips_are_found_as_they_were_kept_and_a_damaged_one_not_at_all(tmp_path: Path) -> None:
    whole, kept = batch(), Kept(tmp_path, "clips-1", "edge", "edge-1")
    for number, clip in enumerate(apart(whole)):
        kept.put(number, clip)
    found = together([clip for number in range(3) if (clip := kept.get(number)) is not None])
    assert found.fps == whole.fps
    assert torch.equal(found.extras["views"], whole.extras["views"])
    for one, other in (
        (found.latents_BCTHW, whole.latents_BCTHW),
        (found.text_BLC, whole.text_BLC),
        (found.padding_mask_B1HW, whole.padding_mask_B1HW),
        (found.hints["edge"], whole.hints["edge"]),
        (found.extras["actions"], whole.extras["actions"]),
    ):
        assert one is not None
        torch.testing.assert_close(one.float(), other, rtol=2**-11, atol=1e-7)
    assert kept.get(3) is None
    assert Kept(tmp_path, "clips-1", "depth", "depth-1").get(0) is None
    assert Kept(tmp_path, "clips-1").get(0) is not None
    for path in (tmp_path / "edge-1").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert kept.get(0) is None


def test_numbers_that_float16_cannot_hold_stay_as_they_are() -> None:
    large = replace(batch(), text_BLC=torch.full((3, 8, 6), 1e6))
    assert together(list(apart(large))).text_BLC.max() == 1e6


def test_clips_of_differing_rates_do_not_come_together() -> None:
    one, *_ = apart(batch())
    with pytest.raises(InputError, match="differing rates"):
        together([one, replace(one, fps=10.0)])


def names(recipe: Recipe, dtype: torch.dtype = torch.float32, change: Any = None) -> tuple[str, ...]:
    """Of the folders that a recipe's latents are kept in."""
    from cosmos_cli.import_strings import resolve

    where = Where(CPU, dtype, Path("checkpoints"))
    task = resolve(recipe.task, needed_by="a test")(recipe, where)
    if change is not None:
        change(task)
    before = {path.name for path in Path(recipe.data.latents_dir).glob("*")}
    open_latents(recipe, open_dataset(recipe), task, where, writes=True)
    return tuple(sorted({path.name for path in Path(recipe.data.latents_dir).glob("*")} - before))


def control(name: str, hint: str, *changes: str) -> Recipe:
    source = "data.source=cosmos_cli.worlds.source:RenderedClips"
    return changed(find("transfer", f"tiny_control_input_{name}_pretrain"), [source, f"data.hint={hint}", *changes])


def test_recipes_share_clips_and_what_decides_on_them_keeps_others_apart(tmp_path: Path) -> None:
    latents = f"data.latents_dir={tmp_path}"
    edge = names(control("edge", "edge", latents))
    assert [name.partition("-")[0] for name in edge] == ["clips", "edge"]
    depth = names(control("edge", "depth", latents))
    assert [name.partition("-")[0] for name in depth] == ["depth"]
    assert not names(control("edge", "edge", latents, "data.batch_size=3", "trainer.max_iter=7"))

    def retrained(task: Any) -> None:
        next(task.tokenizer.network.parameters()).data[0] += 0.001

    assert len(names(control("edge", "edge", latents), change=retrained)) == 2
    assert len(names(control("edge", "edge", latents), torch.bfloat16)) == 2
    assert len(names(control("edge", "edge", latents, "trainer.seed=1"))) == 2
    about = json.loads((tmp_path / edge[0] / "about.json").read_text())
    assert about["source"] == "cosmos_cli.worlds.source:RenderedClips"


def test_files_of_a_data_set_count_wherever_they_lie_and_latents_beside_them_do_not(tmp_path: Path) -> None:
    root = folders.single(tmp_path / "one")

    def facts(root: Path, hint: str = "") -> dict[str, Any]:
        source = "videos:VideoFolder"
        recipe = folders.recipe_with(source, root, hint=hint, latents_dir=str(root / "latents"))
        return facts_of_clips(recipe, open_dataset(recipe))

    first = facts(root)
    (root / "latents").mkdir()
    (root / "latents" / "clip").write_bytes(b"latents")
    assert facts(root) == first
    shutil.move(root, tmp_path / "two")
    root = tmp_path / "two"
    assert facts(root) == first
    # where a control video is shorter than its clip, the window lies elsewhere
    assert facts(root, "edge") != first
    os.utime(root / "videos" / "b.mp4", (1, 1))
    assert facts(root) != first


def test_code_of_a_source_counts_as_far_as_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "worlds_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "source.py").write_text("from .shapes import Square\nfrom worlds_of_a_test import colours\n")
    (package / "shapes.py").write_text("Square = 4\n")
    (package / "colours.py").write_text("red = 1\n")
    (package / "recipes.py").write_text("steps = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    recipe = control("edge", "edge", "data.source=worlds_of_a_test.source:Clips")

    def code() -> str:
        return str(facts_of_clips(recipe, Discs(recipe))["code"])

    first = code()
    (package / "recipes.py").write_text("steps = 2\n")
    (package / "shapes.py").write_text("# a square\nSquare = 4\n")
    assert code() == first
    (package / "shapes.py").write_text("Square = 5\n")
    second = code()
    (package / "colours.py").write_text("red = 2\n")
    assert len({first, second, code()}) == 3


def test_the_code_that_computes_a_control_counts() -> None:
    codes = {facts_of_hint(control("edge", hint).data)["hint_code"] for hint in ("edge", "depth")}
    assert "" in codes
    assert len(codes) == 2


def test_a_training_without_clips_has_none_to_keep(tmp_path: Path) -> None:
    result = run_cosmos(
        *("predict2", "post-train", "--experiment", "tiny_text_encoder", "--device", "cpu"),
        *("--output-root", tmp_path, "--", f"data.latents_dir={tmp_path}/latents", "data.num_mock_clips=64"),
    )
    assert result.exit_code == 2
    assert "encodes no clips" in " ".join(result.stderr.replace("│", " ").split())


def test_a_single_clip_is_encoded_as_in_a_batch() -> None:
    """Kept clips were encoded beside others than those they are read with."""
    recipe = changed(find("predict2", "tiny_video2world"), CHANGES)
    from cosmos_cli.import_strings import resolve

    task: Predict2Task = resolve(recipe.task, needed_by="a test")(recipe, Where(CPU, torch.float32, Path()))
    examples = [Discs(recipe).example(number, torch.Generator()) for number in range(3)]
    whole = task.encode(collate(examples)).latents_BCTHW
    for place, example in enumerate(examples):
        assert torch.equal(task.encode(collate([example])).latents_BCTHW[0], whole[place])
