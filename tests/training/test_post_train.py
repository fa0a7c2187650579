"""`cosmos ... post-train` as a user types it: on any number of ranks, killed and resumed, to a model that is used."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cosmos_cli.testing import CommandResult, run_cosmos
from cosmos_cli.training.draws import draw
from cosmos_cli.training.experiments import changed
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.requests import TrainingSettings
from cosmos_cli.training.run import Run
from cosmos_cli.training.signals import Stopping
from cosmos_plugins.predict1_multiview.recipes import RECIPES
from tests.third_party import COSMOS
from tests.waiting import PATIENCE_S, free_port, until

NAME = "tiny_video2world_multiview"
JOB = Path("posttraining/diffusion_video2world") / NAME
LINE = ("predict1-multiview", "post-train", "--device", "cpu")
# with the recipe's tiny eps, AdamW would move entries whose gradient is but rounding as far as any other
CHANGES = ("--", f"experiment={NAME}", "data.global_batch_size=2", "checkpoint.save_iter=3", "optimizer.eps=1e-5")
TOLERANCE = 2e-6
"""Of float32, added up in another order."""


def command(root: Path, *options: object, changes: tuple[str, ...] = ()) -> list[str]:
    return [*LINE, "--output-root", str(root), *map(str, options), *CHANGES, *changes]


def told(root: Path) -> list[dict[str, Any]]:
    path = root / JOB / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def exported(root: Path, kind: str, iteration: int = 20) -> dict[str, Tensor]:
    path = root / JOB / "checkpoints" / f"iter_{iteration:09d}_{kind}_model.pt"
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def assert_same_run(root: Path, other: Path, *, tolerance: float) -> None:
    """Losses, gradient norms and rates of 20 steps, weights and averages; bit by bit if the tolerance is 0."""
    one, two = told(root), told(other)
    assert [step["iteration"] for step in one] == [step["iteration"] for step in two] == list(range(1, 21))
    for name in ("loss", "grad_norm", "rate"):
        assert [step[name] for step in one] == pytest.approx([step[name] for step in two], rel=tolerance, abs=tolerance)
    for kind in ("ema", "reg"):
        first, second = exported(root, kind), exported(other, kind)
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            # an entry in bfloat16 may fall to the other side of a rounding
            atol = tolerance if kind == "ema" else 0.01 * bool(tolerance)
            torch.testing.assert_close(tensor, second[name], rtol=0, atol=atol, msg=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    result = run_cosmos(*LINE, "--json", *command(root)[4:])
    assert result.exit_code == 0, result.stderr
    assert result.json["is_complete"]
    return root


def run_script(root: Path, *options: object, changes: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    line = [str(COSMOS), *command(root, *options, changes=changes)]
    return subprocess.run(line, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_ranks", "layout"),
    [(2, ()), (2, ("parallel.cp=2",)), (4, ("parallel.tp=2",))],
    ids=["shards", "tokens", "shards-and-layers"],
)
def test_any_number_of_ranks_trains_alike(
    undisturbed: Path, tmp_path: Path, num_ranks: int, layout: tuple[str, ...]
) -> None:
    result = run_script(tmp_path, "--num-gpus", num_ranks, changes=layout)
    assert result.returncode == 0, result.stderr
    assert_same_run(undisturbed, tmp_path, tolerance=TOLERANCE)


KILLED = """
import os, signal, sys, time
from pathlib import Path

import cosmos_cli.training.run  # once, before the processes part
from cosmos_cli.testing import run_cosmos
from tests.training.held import hold_at

metrics, line, *steps = Path(sys.argv[1]), sys.argv[2].split("|"), *map(int, sys.argv[3].split(","))
for step in steps:
    pid = os.fork()
    if not pid:
        hold_at(min(step + 1, 19))  # it shall not be over before it is killed
        os._exit(run_cosmos(*line).exit_code)
    end = time.monotonic() + 240
    while not (metrics.exists() and b'"iteration": %d,' % step in metrics.read_bytes()):
        assert time.monotonic() < end, f"never came to step {step}"
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    folders = [path for path in (metrics.parent / "checkpoints").iterdir() if (path / "state.json").exists()]
    assert step < 4 or folders, f"no complete checkpoint after step {step}"
"""


@pytest.mark.slow
def test_who_is_killed_at_any_step_goes_on_as_if_nothing_had_happened(undisturbed: Path, tmp_path: Path) -> None:
    steps = sorted(random.Random(7).sample(range(4, 20), 5))
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [str(tmp_path / JOB / "metrics.jsonl"), "|".join(command(tmp_path)), ",".join(map(str, steps))]
    killing = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=variables, capture_output=True, text=True)
    assert killing.returncode == 0, killing.stderr
    result = run_cosmos(*command(tmp_path))
    assert result.exit_code == 0, result.stderr
    assert "Going on after step" in result.stderr
    assert_same_run(undisturbed, tmp_path, tolerance=0)


@pytest.mark.slow
def test_sigterm_saves_and_another_number_of_ranks_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    line = [str(COSMOS), *command(tmp_path, "--num-gpus", 2)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until(lambda: len(told(tmp_path)) >= 2)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75, stderr
    assert "start again to go on" in stdout
    saved = json.loads((tmp_path / JOB / "metrics.jsonl").read_text().splitlines()[-1])["iteration"]
    assert (tmp_path / JOB / f"checkpoints/iter_{saved:09d}/state.json").is_file()
    result = run_cosmos(*command(tmp_path))
    assert result.exit_code == 0, result.stderr
    assert f"Going on after step {saved}" in result.stderr
    assert_same_run(undisturbed, tmp_path, tolerance=TOLERANCE)


@pytest.mark.slow
def test_the_exported_model_is_used_as_the_guide_of_the_original_says(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosmos: Callable[..., CommandResult]
) -> None:
    from tests.plugins.predict1_multiview.conftest import six_views

    monkeypatch.chdir(tmp_path)
    clip = six_views("video2world_multiview_input1.mp4", 9)
    folder = tmp_path / "checkpoints" / "Cosmos-Predict1-Tiny-Video2World-Sample-AV-Multiview_post-trained"
    folder.mkdir(parents=True)
    averaged = undisturbed / JOB / "checkpoints" / "iter_000000020_ema_model.pt"
    os.link(averaged, folder / "model.pt")
    line = ("predict1-multiview", "run", "--checkpoint_dir", "checkpoints", "--model", "tiny", "--num_steps", 1)
    line += ("--input_image_or_video_path", clip, "--num_input_frames", 1, "--device", "cpu", "--guidance", 0)
    line += ("--prompt", "The street is wet.", "--prompt_left", "A wall.", "--prompt_back_right", "A hedge.")
    made = {}
    for name, where in (("copied", folder.name), ("folder", str(undisturbed / JOB)), ("published", None)):
        chosen = ("--diffusion_transformer_dir", where) if where else ()
        result = cosmos(*line, *chosen, "--video_save_name", name)
        assert result.exit_code == 0, result.stderr
        made[name] = Path(f"outputs/{name}.mp4").read_bytes()
    assert made["copied"] == made["folder"] != made["published"]


@pytest.mark.slow
def test_the_loss_on_other_clips_halves(tmp_path: Path) -> None:
    recipe = changed(
        RECIPES[NAME],
        [
            "checkpoint.load_path=",
            "data.source=tests.training.rendered:Discs",
            "data.batch_size=4",
            "optimizer.lr=2e-3",
            "trainer.max_iter=250",
            "log.logging_iter=250",
            "checkpoint.save_iter=250",
        ],
    )
    settings = TrainingSettings(device="cpu", output_root=tmp_path)
    run = Run(recipe, recipe, settings, Parallel.form(recipe.parallel, torch.device("cpu"), "float32"))

    def loss_on_others() -> float:
        losses = []
        for index in range(1000, 1012):
            from cosmos_cli.training.data.examples import collate

            batch = run._encode(collate([run.dataset.example(index, torch.Generator())]))
            draws = draw(recipe.draws, batch.latents_BCTHW.shape[1:], seed=99, step=index, places=[0])
            with torch.no_grad():
                losses.append(float(run.task.loss(batch, draws).parts["edm_loss"]))
        return sum(losses) / len(losses)

    before = loss_on_others()
    with Stopping() as stopping:
        run.train(stopping)
    assert loss_on_others() < before / 2


@pytest.mark.parametrize(
    ("options", "changes", "what"),
    [
        ((), ("parallel.cp=2",), "which does not divide the 1 of this run"),
        ((), ("data.global_batch_size=3", "data.batch_size=2"), "3 clips a step do not divide"),
        ((), ("checkpoint.load_path=nothing.pt",), "the weights to begin with are not there"),
        ((), ("trainer.max_iter=many",), "must be a whole number"),
        ((), ("model.size=13B",), "'13B' is no size of this model. There are 7B, tiny."),
        ((), ("data.num_frames=10",), "10 frames are no clip of this model"),
        ((), ("data.text_channels=1024",), "texts of 1024 channels do not fit a network that reads 128"),
        ((), ("data.num_views=7",), "clips of 7 views do not fit a network that reads 6"),
        ((), ("workload=os:getcwd",), "cannot be changed"),
        ((), ("data.source=nowhere:Clips",), "nowhere:Clips cannot be loaded"),
        ((), ("data.height=4096",), "is larger than the network knows"),
        (("--num-gpus", 3), ("parallel.cp=3",), "does not divide the 4 attention heads"),
        ((), ("draws.given_min=2",), "given_min must not be more than given_max"),
        ((), ("schedule.warm_up_steps=[1,2]",), "must be of one length"),
        (("--experiment", "another"), (), "names another, but the overrides name"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, options: tuple[str, ...], changes: tuple[str, ...], what: str
) -> None:
    result = run_cosmos(*command(tmp_path / "out", *options, changes=changes))
    assert result.exit_code in (2, 4)
    assert what in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.glob("out/**/iter_*"))


def test_a_folder_of_another_run_is_left_alone(undisturbed: Path) -> None:
    result = run_cosmos(*command(undisturbed, changes=("data.height=48",)))
    assert result.exit_code == 2
    assert "data.height" in result.stderr


def test_a_dry_run_says_what_fits_on_8_gpus_of_80_gb_and_what_would(cosmos: Callable[..., CommandResult]) -> None:
    line = ("predict1-multiview", "post-train", "--dry-run", "--num-gpus", 8, "--for", "h100", "--json")
    document = cosmos(*line, "--", "experiment=video2world_multiview_7b_example").json
    memory = document["memory"]
    assert (memory["fits"], memory["layout"]["dp_shard"]) == (False, 8)
    assert 100e9 < memory["stages"]["backward pass"]["activations"] < 130e9
    assert "parallel.cp=4" in [remedy["change"] for remedy in memory["remedies"]]
    line = (*line, "--", "experiment=video2world_multiview_7b_example", "parallel.cp=4")
    assert cosmos(*line).json["memory"]["fits"]
    assert "would fit with parallel.cp=4" in cosmos(*line[:7], *line[8:10]).stdout


def test_slurm_is_given_a_batch_file_that_goes_on(cosmos: Callable[..., CommandResult]) -> None:
    line = ("predict1-multiview", "post-train", "--slurm", "--nodes", 2, "--num-gpus", 8)
    text = cosmos(*line, "--", "experiment=video2world_multiview_7b_example", "parallel.cp=4").stdout
    for expected in ("--nodes=2", "--ntasks-per-node=8", "--requeue", "--signal=USR1@300", "scontrol requeue"):
        assert expected in text
    assert "--num-gpus 16" in text
    assert "-- parallel.cp=4" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_the_batch_file_names_the_recipe_as_it_is_found_whatever_the_run_is_called(
    cosmos: Callable[..., CommandResult],
) -> None:
    name = "predict2_video2world_training_2b_cosmos_nemo_assets"
    text = cosmos("predict2", "post-train", "--experiment", name, "--slurm", "--num-gpus", 8).stdout
    [line] = [line for line in text.splitlines() if line.startswith("srun")]
    words = line[line.index("predict2") :].split()
    assert words[words.index("--experiment") + 1] == name
    assert cosmos(*words, "--dry-run", "--device", "cpu").exit_code == 0


def test_no_name_of_a_run_breaks_the_batch_file_and_no_option_is_lost(cosmos: Callable[..., CommandResult]) -> None:
    odd = "it's mine\n#SBATCH --nodes=9; $(touch pwned)"
    options = ("--precision", "float32", "--deterministic", "--cache-dir", "my caches")
    run = ("predict2", "post-train", "--experiment", "tiny_video2world", "--slurm", *options, "--", f"job.name={odd}")
    text = cosmos(*run).stdout
    told = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --job-name=it-s-mine-SBATCH---nodes-9-touch-pwned-" in told
    words = shlex.split(text[text.index("srun") : text.index("\ncode=")])
    assert f"job.name={odd}" in words
    assert words[words.index("--precision") + 1] == "float32" and "--deterministic" in words
    assert words[words.index("--cache-dir") + 1] == "my caches"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads would round otherwise than the ranks, which have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_two_machines_go_on_after_one_of_them_was_lost(undisturbed: Path, tmp_path: Path) -> None:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    agents: list[subprocess.Popen[bytes]] = []

    def start(*names: str) -> list[subprocess.Popen[bytes]]:
        """Agents of torch elastic that meet at a port of this machine, one rank each."""
        where = f"--rdzv-endpoint=localhost:{free_port()}"
        meeting = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", where)
        line = [sys.executable, "-m", "torch.distributed.run", *meeting, "--no-python", str(COSMOS), *command(tmp_path)]
        for name in names:
            with (tmp_path / f"{name}.log").open("wb") as log:
                agents.append(subprocess.Popen(line, env=variables, stdout=log, stderr=log, start_new_session=True))
        return agents[-len(names) :]

    try:
        first, second = start("first", "second")
        until(lambda: len(told(tmp_path)) >= 7)
        second.kill()
        assert first.wait(PATIENCE_S)  # it cannot go on alone
        assert [agent.wait(PATIENCE_S) for agent in start("third", "fourth")] == [0, 0]
    finally:
        for agent in agents:
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGKILL)
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("third", "fourth"))
    assert "Going on after step" in logs
    assert_same_run(undisturbed, tmp_path, tolerance=TOLERANCE)
