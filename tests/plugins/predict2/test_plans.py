"""What commands beside video2world are expected to cost, on the published and on the tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict2.variants import ACTION, MULTIVIEW
from tests.plugins.planned_runs import assert_memory_comes_true, check_figures, in_fresh_process
from tests.third_party import run_script

Run = Callable[..., CommandResult]

CAMERAS = ("multiview", "--num-conditional-frames", 0, "--prompt", "The car turns left.")
PICTURE = ("text2image", "--prompt", "A bus.")
VIDEO = ("text2world", "--prompt", "A bus.")


@pytest.fixture
def robot(picture: Path) -> tuple[object, ...]:
    np.save("actions.npy", np.zeros((24, 7)))
    return ("action", "--input-video", picture, "--input-annotation", "actions.npy")


@pytest.fixture
def plan(cosmos: Run) -> Callable[..., dict[str, Any]]:
    """The plan of a command line, as JSON."""

    def run(*line: object) -> dict[str, Any]:
        result = cosmos("predict2", *line, "--device", "cpu", "--plan", "--json")
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = result.json
        return document

    return run


def stages(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in document["time"]["stages"]}


@pytest.mark.parametrize("model", MULTIVIEW)
def test_a_network_for_several_cameras_has_as_many_weights_as_its_cost_says(model: str) -> None:
    with torch.device("meta"):
        network = MinimalMultiviewDiT(MULTIVIEW[model].dit)
    built = sum(parameter.numel() for parameter in network.parameters())
    assert cost_of(MULTIVIEW[model].dit).parameters == built


@pytest.mark.parametrize("model", ACTION)
def test_a_network_of_actions_has_as_many_weights_as_its_cost_says(model: str) -> None:
    with torch.device("meta"):
        network = ActionDiT(ACTION[model].dit)
    built = sum(parameter.numel() for parameter in network.parameters())
    assert cost_of(ACTION[model].dit).parameters == built


def test_a_picture_is_one_latent_frame_and_a_distilled_one_few_passes(plan: Callable[..., dict[str, Any]]) -> None:
    usual = stages(plan(*PICTURE))["denoise"]
    distilled = stages(plan(*PICTURE, "--distill-steps", 4))["denoise"]
    assert usual["passes"] == 72
    assert distilled["passes"] == 4
    assert distilled["flops"] == pytest.approx(usual["flops"] / 18, rel=0.01)


def test_views_are_denoised_together_and_decoded_one_by_one(plan: Callable[..., dict[str, Any]]) -> None:
    one, seven = (stages(plan(*CAMERAS, "--n-views", count)) for count in (1, 7))
    assert seven["decode"]["flops"] == pytest.approx(7 * one["decode"]["flops"])
    assert seven["denoise"]["flops"] > 7.5 * one["denoise"]["flops"]  # all views attend to all


def test_chunks_of_actions_come_one_after_the_other(
    plan: Callable[..., dict[str, Any]], robot: tuple[object, ...]
) -> None:
    one, two = plan(*robot), plan(*robot, "--autoregressive")
    assert (one["frames"]["made"], two["frames"]["made"]) == (13, 25)
    for stage in ("encode_frames", "denoise", "decode"):
        assert stages(two)[stage]["flops"] == pytest.approx(2 * stages(one)[stage]["flops"])
    assert not [file for file in one["files"]["needed"] if "t5-11b" in file["path"]]
    assert one["memory"]["host_needed_bytes"] <= two["memory"]["host_needed_bytes"]


def test_text2world_is_its_picture_and_its_video(plan: Callable[..., dict[str, Any]], picture: Path) -> None:
    both = plan(*VIDEO)
    image = plan(*PICTURE, "--negative-prompt", "ugly")
    video = plan("video2world", "--input-path", picture, "--prompt", "A bus.")
    alone = {f"first_frame_{name}": stage for name, stage in stages(image).items()} | stages(video)
    assert {name: stage["flops"] for name, stage in stages(both).items()} == {
        name: stage["flops"] for name, stage in alone.items()
    }
    peaks = [document["memory"]["host_peak"]["num_bytes"] for document in (image, video)]
    assert both["memory"]["host_peak"]["num_bytes"] == max(peaks)
    assert both["frames"]["made"] == 93
    assert sum("t5-11b/config.json" in file["path"] for file in both["files"]["needed"]) == 1


def test_seeds_are_so_many_videos_with_one_loading(plan: Callable[..., dict[str, Any]], picture: Path) -> None:
    line = ("--input-path", picture, "--prompt", "A bus.", "--model", "tiny", "--num-frames", 9)
    one, four = plan("video2world", *line), plan("best-of-n", *line, "--num-generations", 4)
    for stage in ("encode_frames", "denoise", "decode"):
        assert stages(four)[stage]["flops"] == pytest.approx(4 * stages(one)[stage]["flops"])
    assert stages(four)["start"] == stages(one)["start"]
    assert four["frames"]["made"] == 36
    assert four["memory"]["host_peak"]["num_bytes"] == one["memory"]["host_peak"]["num_bytes"]


def test_a_batch_counts_its_good_rows_and_tells_of_the_others(
    plan: Callable[..., dict[str, Any]], picture: Path
) -> None:
    row = {"input_video": str(picture), "prompt": "On."}
    rows = [row | {"num_frames": 9}, row | {"num_frames": 5}, row | {"input_video": "gone.png"}]
    Path("rows.json").write_text(json.dumps(rows))
    for line in (("batch", "rows.json"), ("video2world", "--batch", "rows.json")):
        document = plan(*line, "--model", "tiny")
        assert document["frames"]["made"] == 14
        assert document["problems"][:2] == [
            "1 of 3 rows are wrong, and will not be made.",
            "wrong row: rows.json entry 3, input_video: gone.png does not exist. Give a picture or a video.",
        ]
    assert not list(Path().glob("*.mp4"))


def test_a_plan_names_all_that_is_wrong(cosmos: Run, robot: tuple[object, ...]) -> None:
    for line, wrong in {
        (*PICTURE, "--save-path", "a.gif", "--load-ema"): ["--load-ema", "--save-path"],
        (*CAMERAS, "--save-path", "a.gif", "--num-conditional-frames", 5): ["--save-path", "--input-path"],
        (*robot, "--save-path", "a.gif", "--parallel", "cp=2"): ["--parallel", "--save-path"],
        (*VIDEO, "--save-path", "a.gif", "--parallel", "cp=2"): ["--parallel", "--save-path"],
        ("best-of-n", "--skip-generation"): ["--skip-generation"],
    }.items():
        result = cosmos("predict2", *line, "--plan", "--json")
        assert result.exit_code == 2
        assert [problem["where"] for problem in result.json["problems"]] == wrong


PLANS = """
import contextlib, io, json, sys
from cosmos_cli.main import run
heavy = []
for line in {lines}:
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(line) == 0
    heavy.append([line, sorted({{"torch", "transformers", "cv2"}} & set(sys.modules))])
print(json.dumps(heavy))
"""


@pytest.mark.slow
def test_plans_import_no_torch(robot: tuple[object, ...], picture: Path) -> None:
    Path("rows.json").write_text(json.dumps([{"input_video": str(picture), "prompt": "On."}]))
    seeds = ("best-of-n", "--input-path", picture, "--prompt", "On.")
    made = (PICTURE, VIDEO, CAMERAS, robot, seeds, ("batch", "rows.json"))
    lines = [["predict2", *map(str, line), "--plan"] for line in made]
    assert in_fresh_process(PLANS.format(lines=lines))[0] == [[line, []] for line in lines]


RUN = """
import contextlib, dataclasses, io, json
from pathlib import Path
from cosmos_cli.main import run
from cosmos_plugins.predict2.variants import {variants} as variants
variants["tiny"] = dataclasses.replace(variants["tiny"], sizes={sizes})
with contextlib.redirect_stdout(io.StringIO()):
    assert run({line}) == 0
print(json.dumps(json.loads(Path("made.json").read_text())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["text2image", "multiview", "action"])
def test_memory_is_known_where_pictures_and_not_python_need_it(command: str, robot: tuple[object, ...]) -> None:
    line, variants, small, large = {
        "text2image": (PICTURE, "TEXT2IMAGE", {"16:9": (256, 256)}, {"16:9": (768, 1360)}),
        "multiview": ((*CAMERAS, "--n-views", 2), "MULTIVIEW", {"16:9": (96, 160)}, {"16:9": (176, 320)}),
        "action": (robot, "ACTION", {"4:3": (96, 128)}, {"4:3": (240, 320)}),
    }[command]
    quick = ("--model", "tiny", "--device", "cpu", "--num-steps", 1, "--overwrite", "--save-path", "made")
    arguments = ["predict2", *map(str, (*line, *quick))]
    assert_memory_comes_true(
        *(RUN.format(variants=variants, sizes=sizes, line=arguments) for sizes in (small, large)),
    )


@pytest.mark.slow
def test_the_sidecar_of_two_models_has_the_plan_of_both_beside_what_they_took() -> None:
    options = ("--model", "tiny", "--device", "cpu", "--num-frames", 5, "--num-steps", 1, "--save-path", "made.mp4")
    result = run_script("predict2", *VIDEO, *options)
    assert result.returncode == 0, result.stderr
    sidecar = json.loads(Path("made.json").read_text())
    planned, actual = sidecar["planned"]["seconds"], sidecar["actual"]["seconds"]
    assert set(planned) - set(actual) == {"start"}  # the second loading stands in no stage of its own
    assert set(actual) <= set(planned)
    check_figures(sidecar["planned"], sidecar["actual"])
