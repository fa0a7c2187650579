"""Every console line of README, the guides and the examples does what it says, as far as this machine goes.

Lines of README and of the examples run on the tiny models. In the guides, lines with `--model tiny` run, and lines for
published models are planned, since missing weights are no error of a plan. `test_docs.py` follows the plugin guide.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import open_ledger
from cosmos_cli.media.image import read_image, write_png
from cosmos_cli.media.video import read_video, write_video
from cosmos_cli.testing import run_cosmos
from tests.test_docs import sessions

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RUN_ON_TINY = [ROOT / "README.md", EXAMPLES / "README.md"]
GUIDES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "plugins.md"]

MAKERS = {
    "predict1": {"text2world", "video2world"},
    "predict1-multiview": {"run", "batch"},
    "predict2": {"video2world", "text2image", "text2world", "multiview", "action", "best-of-n", "batch"},
    "nemo": {"run", "batch"},
    "transfer": {"run", "multiview", "batch"},
}
"""Commands that make something by a model, and can plan it."""
ELSEWHERE = {"demo", "prompts", "workbench"}
"""Run by tests/demo, by a chat model of gigabytes or a server, and by tests/workbench."""
OF_TRAININGS = ("posttraining", "post_trained", "nemo_experiments", "my_robot.pt", "trained.pt", "/model.pt")
"""Parts of names of weights that a reader makes; without them a line says so, and nothing else is wrong with it."""


def console_lines(page: Path) -> list[tuple[str, str]]:
    """Lines, each with the output that is shown behind it, if any is."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in sessions(block.replace("\\\n", " "))]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with the examples, and with what readers of the guides have by the names that are used there."""
    shutil.copytree(EXAMPLES, "examples")
    rooms, car = Path("examples/rooms"), Path("examples/car")
    picture, clip = read_image(Path("examples/harbour.jpg")), read_video(rooms / "ball.mp4").frames_FHWC
    for name in ("robot.png", "street.jpg", "arm.jpg"):
        write_png(Path(name), picture)
    for name in ("drive.mp4", "arm.mp4", "clip.mp4", "rgb.mp4", "street1.mp4"):
        shutil.copy(rooms / "ball.mp4", name)
    for name in ("six_views.mp4", "views.mp4", "assets/diffusion/video2world_multiview_input1.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(car / "six_views.mp4", name)
    shutil.copy(car / "front.mp4", "front.mp4")
    Path("cameras").mkdir()
    for view in range(7):
        shutil.copy(car / "front.mp4", f"cameras/{view}.mp4")
    Path("output/my_existing_videos").mkdir(parents=True)
    write_video(Path("output/my_existing_videos/a.mp4"), clip[:5], 10)
    with open_ledger(Path("made before/streets.ledger.jsonl")) as ledger:
        ledger.write(Entry("1", "video_0", "failed", "it got lost"))
    Path("13.json").write_text(str(np.zeros((12, 7)).tolist()))
    for spec, name in (("edge", "spec"), ("hdmap", "hdmap"), ("six_hdmaps", "hdmap_of_all_cameras")):
        text = (EXAMPLES / "transfer" / f"{spec}.json").read_text()
        Path(f"{name}.json").write_text(text.replace("../", "examples/"))
    for folder, name in (("transfer/rooms", "streets"), ("predict1/rows", "rows"), ("predict1/scenes", "scenes")):
        text = (EXAMPLES / f"{folder}.jsonl").read_text()
        Path(f"{name}.jsonl").write_text(text.replace("../", "examples/"))
    shutil.copytree(rooms, "cosmos1/models/diffusion/assets/nemo_diffusion_example_data")
    shutil.copytree(rooms, "robot_dataset/videos")
    for video in Path("robot_dataset/videos").iterdir():
        instruction = Path("robot_dataset/instructions") / f"{video.stem}.json"
        instruction.parent.mkdir(exist_ok=True)
        instruction.write_text('{"language_instruction_0": "pick up the cup"}')
    shutil.copytree(rooms, "datasets/cosmos_nemo_assets/videos")
    shutil.copytree(rooms, "datasets/waymo/videos/pinhole_front")
    Path("datasets/waymo/metas/pinhole_front").mkdir(parents=True)
    for video in rooms.iterdir():
        Path("datasets/waymo/metas/pinhole_front", f"{video.stem}.txt").write_text("A street.")
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.put_file(str(rooms / "ball.mp4"), "/clips/ball.mp4")
    store.pipe_file("/clips/rows.jsonl", b'{"input_video": "ball.mp4", "prompt": "A room."}')
    store.pipe_file("/clips/rooms.jsonl", b'{"visual_input": "ball.mp4", "prompt": "A room."}')
    monkeypatch.setenv("PROMPT", "A street.")
    yield
    store.store.clear()


def arguments_of(line: str, page: Path) -> list[str] | None:
    """What is given to `cosmos` for a line of a page; nothing if the line runs something else, or cannot run here."""
    # the store of this process stands for those that are elsewhere
    words = shlex.split(line.replace("${PROMPT}", "A street.").replace("s3://", "memory://"))
    if words[0] == "torchrun":
        words = ["cosmos", *words[words.index("cosmos_cli") + 1 :]]
    if words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None
        return None
    if words[0] in ("mkdir", "cp", "echo"):
        return None
    if words[0] == "sbatch":
        assert Path(words[1]).is_file()
        return None
    assert words[0] == "cosmos", line
    words = words[1:]
    if ">" in words:
        words = words[: words.index(">")]
    family, command = words[0], words[1] if len(words) > 1 else ""
    if ELSEWHERE & {family, command}:
        return None
    if family == "batch":
        return [family, command, "made before"]
    if "download" in (family, command):
        return words if "--dry-run" in words else [*words, "--dry-run"]
    if command == "post-train":
        return training(words, page)
    if command == "guided" and "--demo-episode" not in words:
        return [*words, "--plan"]
    if command in ("annotate", "prepare-dataset", "prepare-instruction-dataset", "prepare-data"):
        return on_tiny(words)
    if command == "critic":
        return [*words, "--critic", "measured"]
    if command in MAKERS.get(family, ()):
        if page in RUN_ON_TINY:
            return [*on_tiny(words), "--device", "cpu", *quick(words)]
        return [*words, *quick(words)] if "tiny" in words else [*words, "--plan"]
    return words


def training(words: list[str], page: Path) -> list[str]:
    """Planned, but for README's by NeMo's factories, whose export the next line runs."""
    if page in RUN_ON_TINY and words[0] == "nemo":
        return [word.replace("max_steps=50", "max_steps=2") for word in words] + ["--device", "cpu"]
    if "--dry-run" in words or "--slurm" in words:
        return words
    behind = words.index("--") if "--" in words else len(words)
    return [*words[:behind], "--dry-run", *words[behind:]]


def on_tiny(words: list[str]) -> list[str]:
    kept = list(words)
    for name in ("--model-size", "--model"):
        if name in kept:
            at = kept.index(name)
            del kept[at : at + 2]
    kept = [re.sub(r"^(5|[45]00)$", "1", word) if before == "--num_chunks" else word for before, word in pairs(kept)]
    return [*kept, "--model", "tiny"]


def pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *words], words, strict=False))


def quick(words: list[str]) -> list[str]:
    steps = [] if {"--num-steps", "--use-distilled"} & set(words) else ["--num-steps", "1"]
    # one seed is as good as five
    return [*steps, "--num-generations", "2"] if "best-of-n" in words else steps


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", [*RUN_ON_TINY, *GUIDES], ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_console_line_of_a_page_runs(page: Path) -> None:
    wrong, code = [], 0
    for line, shown in console_lines(page):
        arguments = arguments_of(line, page)
        if line == "echo $?":
            assert shown == f"{code}\n"
        if arguments is None:
            continue
        if page not in RUN_ON_TINY:
            # each line of a guide stands for itself; README and the examples can be typed as they stand
            for folder in ("outputs", "output/best-of-n"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder)
        result = run_cosmos(*arguments)
        code = result.exit_code
        made_by_readers = any(part in line for part in OF_TRAININGS) and page not in RUN_ON_TINY
        if shown:
            assert result.stdout + result.stderr == shown
        elif code and not (made_by_readers and code == 4):
            wrong.append(f"$ {line}\n  as cosmos {shlex.join(arguments)}\n  exit {code}\n{result.stderr[-2000:]}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_the_python_of_readme_runs() -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(block, "README.md", "exec"), {})
    assert Path("sailing.mp4").is_file()


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("name", sorted(path.name for path in (EXAMPLES / "slurm").iterdir()))
def test_a_batch_file_for_slurm_asks_for_as_many_gpus_as_its_command(name: str) -> None:
    text = (EXAMPLES / "slurm" / name).read_text()
    asked = {key: int(value) for key, value in re.findall(r"^#SBATCH --([\w-]+)=(\d+)$", text, re.MULTILINE)}
    [line] = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(line)[2:]
    assert words.pop(0) == "cosmos"
    gpus = int(words[words.index("--num-gpus") + 1])
    assert gpus == asked["nodes"] * asked["ntasks-per-node"] and asked["ntasks-per-node"] == asked["gpus-per-node"]
    words = [*words, "--device", "cpu"] if "post-train" in words else words
    result = run_cosmos(*words, "--dry-run" if "post-train" in words else "--plan")
    assert result.exit_code == 0, result.stderr


def test_the_batch_file_of_a_post_training_is_the_one_that_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSMOS_CACHE_DIR")  # what is given goes along with the tasks
    name = "predict2_video2world_training_2b_cosmos_nemo_assets"
    printed = run_cosmos("predict2", "post-train", "--experiment", name, "--num-gpus", 8, "--nodes", 4, "--slurm")
    assert printed.stdout == (EXAMPLES / "slurm" / "post-train-nodes.sbatch").read_text()
