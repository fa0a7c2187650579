"""`cosmos nemo post-train` as the guide of NeMo has it: on any number of ranks, killed and resumed, to a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult, run_cosmos
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from cosmos_plugins.nemo_bridge.convert.stacks import Stacks
from cosmos_plugins.nemo_bridge.convert.writers import write_diffusers, write_torch_dist, write_zarr
from tests.clips import encode, moving_gradient
from tests.plugins.nemo_bridge.prepared import prepared
from tests.third_party import COSMOS
from tests.waiting import until

FACTORY = "tiny_video2world"
TINY = TINY_ROOT / "nvidia/Cosmos-Predict1-Tiny-Video2World/model.pt"
LINE = ("nemo", "post-train", "--device", "cpu", "--yes", "--factory", FACTORY)
STEPS = 20
# with eps 1e-8, AdamW would move entries whose gradient is but rounding as far as any other
CHANGES = ("data.global_batch_size=2", f"trainer.max_steps={STEPS}", "optim.config.adam_eps=1e-6")
TOLERANCE = 5e-6
"""Of float32, added up in another order."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads would round otherwise than the ranks, which have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("prepared"), 3)


def arguments(data: Path, log_dir: Path, *changes: str) -> tuple[str, ...]:
    return (*LINE, f"data.path={data}", f"log.log_dir={log_dir}", *CHANGES, *changes)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    result = run_cosmos(*arguments(data, folder))
    assert result.exit_code == 0, result.stderr
    return folder


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def exported(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(folder / f"checkpoints/iter_{STEPS:09d}_reg_model.pt", weights_only=True)
    return weights


def assert_same_run(folder: Path, other: Path, tolerance: float) -> None:
    one, two = told(folder), told(other)
    assert [step["iteration"] for step in one] == [step["iteration"] for step in two] == list(range(1, STEPS + 1))
    for name in ("loss", "grad_norm", "rate"):
        assert [step[name] for step in one] == pytest.approx([step[name] for step in two], rel=tolerance, abs=tolerance)
    first, second = exported(folder), exported(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        # an entry in bfloat16 may fall to the other side of a rounding
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=0.01 * bool(tolerance), msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("tp", [1, 2], ids=["shards", "layers"])
def test_two_ranks_train_as_one(undisturbed: Path, data: Path, tmp_path: Path, tp: int) -> None:
    line = arguments(data, tmp_path / "run", f"trainer.strategy.tensor_model_parallel_size={tp}")
    result = subprocess.run([COSMOS, *line, "--num-gpus", "2"], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert ("each layer on 2" if tp == 2 else "parameters on 2") in result.stderr
    assert_same_run(undisturbed, tmp_path / "run", TOLERANCE)


@pytest.mark.slow
def test_who_is_killed_goes_on_as_if_nothing_had_happened(undisturbed: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    line = arguments(data, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-m", "tests.training.held", "13", *line], env=environment)
    until(lambda: len(told(folder)) == 13)
    process.kill()
    process.wait()
    result = run_cosmos(*line)
    assert result.exit_code == 0, result.stderr
    assert "Going on after step" in result.stderr
    assert_same_run(undisturbed, folder, 0)


def test_the_loss_falls_and_the_head_of_the_published_file_goes_along(undisturbed: Path) -> None:
    losses = [step["loss"] for step in told(undisturbed)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    weights = exported(undisturbed)
    start = torch.load(TINY, weights_only=True)
    for name in ("logvar.0.freqs", "logvar.0.phases", "logvar.1.weight"):
        assert torch.equal(weights[name], start[name])
    assert weights.keys() >= start.keys()
    for given in (undisturbed, undisturbed / f"checkpoints/iter_{STEPS:09d}_reg_model.pt"):
        with open_checkpoint(given) as source:  # what convert and run take
            assert (source.variant.kind, source.variant.rank) == ("video2world", 8)
            assert torch.equal(source.tensor("net.pos_embedder.seq"), torch.arange(128).bfloat16())
    assert not torch.equal(weights["net.x_embedder.proj.1.weight"], start["net.x_embedder.proj.1.weight"])


def post_train(*options: object) -> CommandResult:
    return run_cosmos("nemo", "post-train", "--device", "cpu", *options)


def said(result: CommandResult) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def test_a_dry_run_has_the_numbers_of_nemo_and_the_size_of_the_samples(data: Path) -> None:
    line = ("--dry-run", "--num-gpus", 8, "--gpu-memory", "80GB", "--json", "--factory")
    factory = "cosmos_diffusion_14b_video2world_finetune"
    with_data = (*line, factory, f"data.path={prepared(Path('full'), 1, num_latents=16, rows=88, columns=160)}")
    result = post_train(*with_data, "data.text_channels=1024")
    assert result.exit_code == 0, result.stderr
    document = result.json
    recipe = document["recipe"]
    assert (recipe["optimizer"]["lr"], recipe["trainer"]["max_iter"], recipe["parallel"]["tp"]) == (1e-6, 1000, 8)
    assert (recipe["data"]["num_frames"], recipe["data"]["height"], recipe["data"]["width"]) == (121, 704, 1280)
    assert document["folder"] == f"nemo_experiments/{factory}"
    assert document["global_batch_size"] == 1
    assert document["memory"]["fits"]
    alone = post_train("--dry-run", "--json", "--factory", FACTORY, f"data.path={data}").json["recipe"]
    assert (alone["parallel"]["tp"], alone["data"]["num_frames"], alone["data"]["text_channels"]) == (1, 9, 128)


def test_fewer_ranks_than_nemo_has_share_the_layers_among_them(data: Path) -> None:
    for num_ranks, tp in ((1, 1), (4, 4), (6, 2), (16, 8)):
        line = ("--dry-run", "--json", "--num-gpus", num_ranks, f"data.path={data}", "data.text_channels=1024")
        result = post_train(*line)  # no factory is named: that of general.py
        assert "cosmos_diffusion_7b_text2world_finetune" in said(result)
        assert result.json["recipe"]["parallel"]["tp"] == tp
        assert result.json["global_batch_size"] == num_ranks // tp


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (("--factory", "cosmos_diffusion_7b_text2world_finetune"), "no folder of prepared samples is named"),
        (("--factory", "cosmos_diffusion_7b_txt2world_finetune"), "there is no experiment"),
        (("--factory", FACTORY, "--experiment", "tiny_text2world"), "Name one"),
        (("--factory", "cosmos_diffusion_7b_video2world_action_ctrl_finetune"), "reads a robot's actions"),
        (("--factory", "cosmos_diffusion_7b_cameractrl_finetune"), "rays of a camera"),
        (("--factory", "cosmos_multicamera_diffusion_7b_text2world_finetune"), "six cameras of a car"),
        ((f"--factory={FACTORY}", "data.path=nowhere"), "there is no such folder"),
        ((f"--factory={FACTORY}", "data.path={data}", "data.micro_batch_size=2"), "a forward pass takes one clip"),
        ((f"--factory={FACTORY}", "data.path={data}", "trainer.strategy.sequence_parallel=True"), "does not support"),
        ((f"--factory={FACTORY}", "data.path={data}", "resume.restore_config.path=nowhere"), "are not there"),
        (
            (f"--factory={FACTORY}", "data.path={data}", "resume.restore_config.path=Cosmos-Predict1-Tiny-Text2World"),
            "holds the 48x3 network of text2world; the recipe trains the tiny one of video2world",
        ),
        ((f"--factory={FACTORY}", "data.path={data}", "model.config.num_layers=1"), "num_blocks 3 in place of 1"),
        ((f"--factory={FACTORY}", "data.path={data}", "draws.given_max=2"), "no latent frame is left to be made"),
        ((f"--factory={FACTORY}", "data.path={half}"), "sample 1 is half-written: 1.info.json missing"),
        ((f"--factory={FACTORY}", "data.path={data}", "--backend", "nemo"), "is no factory of NeMo"),
        (
            ("--factory", "cosmos_diffusion_7b_text2world_finetune", "data.path={data}", "--backend", "nemo"),
            "nemo.collections.diffusion.train",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    data: Path, tmp_path: Path, changes: tuple[str, ...], what: str
) -> None:
    half = prepared(tmp_path / "half", 2)
    (half / "1.info.json").unlink()
    result = post_train(*(change.format(data=data, half=half) for change in changes))
    assert result.exit_code in (2, 4), result.stderr
    assert what in said(result)
    assert not Path("nemo_experiments").exists()


def in_other_layouts(folder: Path) -> dict[str, Path]:
    """The tiny network as NeMo and Diffusers keep it; `trained` is as NeMo's training leaves it."""
    with open_checkpoint(TINY) as source:
        stacks = Stacks(source)
        for name in ("published", "trained"):
            write_zarr(folder / name / "epoch=0-step=199" / "weights", stacks, lambda: None)
        write_torch_dist(folder / "torch_dist", stacks, lambda: None)
        write_diffusers(folder / "diffusers", source, None, lambda: None)
    name = "module.decoder.layers.adaLN.adaLN_modulation.2.weight"
    block = folder / "trained" / "epoch=0-step=199" / "weights" / name / "0.0.0"
    noise = torch.randn(block.stat().st_size // 2, generator=torch.Generator().manual_seed(3)) / 20
    block.write_bytes(noise.bfloat16().view(torch.uint8).numpy().tobytes())
    return {path.name: path for path in sorted(folder.iterdir())}


def test_any_layout_is_begun_from_and_what_nemo_has_trained_too(data: Path, tmp_path: Path) -> None:
    layouts = in_other_layouts(tmp_path / "layouts")
    losses = {}
    for name, path in {"native": TINY, **layouts}.items():
        line = ("--factory", FACTORY, f"data.path={data}", "trainer.max_steps=2", f"log.log_dir={name}")
        result = post_train(*line, f"resume.restore_config.path={path}")
        assert result.exit_code == 0, result.stderr
        losses[name] = [step["loss"] for step in told(Path(name))]
    trained = losses.pop("trained")
    assert set(layouts) == {"published", "trained", "torch_dist", "diffusers"}
    assert all(each == losses["native"] for each in losses.values())
    assert trained != losses["native"]
    weights = torch.load("trained/checkpoints/iter_000000002_reg_model.pt", weights_only=True)
    ranks = {tuple(weights[name].shape) for name in weights if name.endswith("adaLN_modulation.1.weight")}
    assert ranks == {(3 * 8, 48)}


@pytest.mark.slow
def test_the_steps_of_the_guide_follow_one_another(tmp_path: Path) -> None:
    """Samples under an instruction per video, a training on them, and a video by its result."""
    Path("robot_dataset/videos").mkdir(parents=True)
    Path("robot_dataset/instructions").mkdir()
    for name in ("id1", "id2"):
        encode(Path(f"robot_dataset/videos/{name}.mp4"), moving_gradient(123, 48, 80), fps=50)
        text = Path(f"robot_dataset/instructions/{name}.json")
        text.write_text(json.dumps({"language_instruction_0": f"lift {name}"}))
    folders = ("--dataset_path", "robot_dataset", "--output_path", "robot_dataset/processed")
    changes = ("data.path=robot_dataset/processed", "trainer.max_steps=2", "optim.config.lr=1e-2")
    lines: list[tuple[object, ...]] = [
        ("prepare-instruction-dataset", *folders, "--num_chunks", 2, "--model", "tiny"),
        ("post-train", "--yes", "--factory", "tiny_text2world", *changes),
    ]
    run = ("run", "--model", "tiny", "--prompt", "lift id1", "--num_steps", 1)
    lines += [
        (*run, "--video_save_path", "trained.mp4", "--nemo_checkpoint", "nemo_experiments/tiny_text2world"),
        (*run, "--video_save_path", "published.mp4"),
    ]
    for line in lines:
        result = run_cosmos("nemo", *line, "--device", "cpu")
        assert result.exit_code == 0, result.stderr
    assert Path("trained.mp4").read_bytes() != Path("published.mp4").read_bytes()


@pytest.mark.parametrize(("kind", "is_prepared"), [("text2world", False), ("video2world", True)])
def test_made_up_clips_are_encoded_and_samples_shown(data: Path, kind: str, is_prepared: bool) -> None:
    line = ("--factory", f"tiny_{kind}", "trainer.max_steps=1", "log.sample_iter=1", "log.sample_steps=2")
    result = post_train(*line, "log.log_dir=run", *([f"data.path={data}"] if is_prepared else []))
    assert result.exit_code == 0, result.stderr
    assert [path.suffix for path in Path("run/samples").iterdir()] == [".mp4"]


def test_layers_may_be_left_out_of_a_network_of_chance(data: Path) -> None:
    shallow = ("model.config.num_layers=1", "resume.restore_config=None", "trainer.max_steps=1")
    result = post_train("--factory", FACTORY, f"data.path={data}", *shallow)
    assert result.exit_code == 0, result.stderr
    path = f"nemo_experiments/{FACTORY}/checkpoints/iter_000000001_reg_model.pt"
    weights = torch.load(path, weights_only=True)
    assert {name.split(".")[2] for name in weights if name.startswith("net.blocks.")} == {"block0"}
