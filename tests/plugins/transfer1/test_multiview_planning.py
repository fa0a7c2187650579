"""What `cosmos transfer multiview --plan` says, and what a run of the tiny model makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cosmos_cli.errors import InputError
from cosmos_cli.generation.command import plan_one
from cosmos_cli.generation.plan import Plan
from cosmos_cli.models.configs import MultiViewConfig
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.text import TEXT_TOKENS
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.multiview import inputs
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import MULTIVIEW_VARIANTS, MultiviewVariant
from tests.clips import encode, moving_gradient
from tests.plugins.planned_runs import assert_memory_comes_true, assert_quick_and_light

PLAN = """
import json, sys
from cosmos_cli.generation.command import plan_one
from cosmos_plugins.transfer1.multiview import inputs
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
request = MultiviewRequest(controls={"hdmap": {"input_control": ["map.mp4"] * 6}}, view_condition_video="front.mp4")
made = plan_one(inputs, MultiviewSettings(cache_dir="cache"), request)
print(json.dumps([made.document(), list(sys.modules)]))
"""
RUN = """
import json
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.watch import Watch
from cosmos_plugins.transfer1.multiview import inputs
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
settings = MultiviewSettings(model_size="tiny", cache_dir="cache")
controls = {{name: {{"input_control": ["map.mp4"] * 6}} for name in {controls}}}
request = MultiviewRequest(
    controls=controls, view_condition_video="front.mp4", num_steps={num_steps}, overwrite=True
)
sample = inputs.check(settings, request)()
planned = plan_job(settings, inputs.job_of(settings, request))
from cosmos_plugins.transfer1.multiview.pipeline import MultiviewPipeline
pipeline = MultiviewPipeline.load(settings, [request])
watch = Watch(planned, from_process_start=True)
print(json.dumps(watch.finish(pipeline.write(pipeline.make(sample)).seconds)))
"""
SIZE = {"model_channels": 48, "num_heads": 2, "crossattn_emb_channels": 32, "adaln_lora_dim": 8}


@pytest.fixture(autouse=True)
def clips() -> None:
    for name, num_frames in {"front.mp4": 60, "map.mp4": 57, "long.mp4": 160}.items():
        encode(Path(name), moving_gradient(num_frames, 36, 64))


def request(*controls: str, video: str = "map.mp4", **values: Any) -> MultiviewRequest:
    return MultiviewRequest(
        controls={name: {"input_control": [video] * 6} for name in controls or ("hdmap",)},
        **{"view_condition_video": "front.mp4", **values},
    )


def settings(**values: Any) -> MultiviewSettings:
    return MultiviewSettings(**{"model_size": "tiny", "cache_dir": "cache", **values})


def plan(settings: MultiviewSettings, request: MultiviewRequest) -> Plan:
    return plan_one(inputs, settings, request)


def stages(made_of: MultiviewRequest) -> dict[str, Any]:
    return {estimate.stage.name: estimate.stage for estimate in plan(settings(), made_of).estimates}


@pytest.mark.parametrize(("size", "num_views"), [("7B", 6), ("tiny", 5)])
def test_parameters_are_those_of_the_networks(size: str, num_views: int) -> None:
    def parameters(network: nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    variant = MULTIVIEW_VARIANTS[size]
    with torch.device("meta"):
        base = MultiViewDiT(variant.base(num_views))
        branch = MultiViewControlBranch(variant.branch(num_views))
    assert cost_of(variant.base(num_views)).parameters == parameters(base)
    assert cost_of(variant.branch(num_views)).parameters == parameters(branch)


def test_flops_are_those_that_torch_counts() -> None:
    def flops(run: Callable[[], Any]) -> Any:
        with torch.no_grad(), sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
            run()
        return pytest.approx(counter.get_total_flops(), rel=0.02)

    variant = MultiviewVariant(MultiViewConfig(**SIZE, num_blocks=2, n_views_emb=7), 64, 96, num_control_blocks=1)
    base, branch = MultiViewDiT(variant.base(2)), MultiViewControlBranch(variant.branch(2))
    of_base, of_branch = cost_of(base.config), cost_of(branch.config)
    x, times, context = torch.randn(1, 16, 6, 8, 12), torch.rand(1), torch.randn(1, 2 * TEXT_TOKENS, 32)
    grid, text, hint = of_base.grid((6, 8, 12)), base.encode_text(context), branch.encode_hint(x)
    text_of_branch = branch.encode_text(context)
    assert 2 * of_base.text_flops() == flops(lambda: base.encode_text(context))
    assert of_base.pass_flops(grid) == flops(lambda: base(x, times, text, fps=24))
    assert of_branch.hint_flops(grid) == flops(lambda: branch.encode_hint(x))
    assert of_branch.pass_flops(grid) == flops(lambda: branch(x, times, text_of_branch, hint, fps=24))


def test_the_output_is_all_views_and_the_disk_holds_them_twice() -> None:
    made = plan(settings(), request())
    assert (made.frames.given, made.frames.made, made.frames.computed, made.frames.chunks) == (60, 6 * 57, 6 * 57, 1)
    run = made.estimates[-1].stage
    assert run.amounts["frames"] == 2 * 6 * 57 * 48 * 80
    assert made.output_bytes == pytest.approx(2 * 6 * 57 * 48 * 80 * 0.25 / 8, abs=2)


def test_clips_that_go_on_cost_as_much_as_there_are() -> None:
    first_frames = {"initial_condition_video": "map.mp4", "view_condition_video": "long.mp4", "num_input_frames": 9}
    one, three = (stages(request(video="long.mp4", n_clip_max=number, **first_frames)) for number in (1, 3))
    for name in ("encode", "denoise", "decode"):
        assert three[name].flops == pytest.approx(3 * one[name].flops)
    assert one["encode"].num_passes == 7 * 8 + 6 * 2  # six maps, the front video, and the given frames of every view


def test_every_control_adds_its_branch_and_its_videos() -> None:
    one, two = stages(request()), stages(request("hdmap", "lidar"))
    assert one["denoise"].num_passes == 72 * 2  # 36 evaluations, guided, base and branch
    assert two["denoise"].num_passes == 72 * 3
    assert two["encode"].flops == pytest.approx(13 / 7 * one["encode"].flops)
    assert stages(request(guidance=0))["denoise"].num_passes == 36 * 2


def test_a_published_model_lists_all_that_is_missing() -> None:
    document = plan(settings(model_size="7B"), request()).document()
    names = {Path(file["path"]).name for file in document["files"]["needed"] if not file["is_present"]}
    assert {"t2w_base_model.pt", "t2w_hdmap_control.pt", "autoencoder.jit"} <= names
    assert not {"v2w_base_model.pt", "t2w_lidar_control.pt"} & names


def test_videos_that_are_too_short_are_told_without_reading_them() -> None:
    with pytest.raises(InputError, match=r"(?s)front camera: has 60 frames, fewer than the 113 .*rear right camera"):
        values = {"view_condition_video": "long.mp4", "initial_condition_video": "map.mp4"}
        plan(settings(), request(video="front.mp4", **values))
    encode(Path("short.mp4"), moving_gradient(30, 36, 64))
    with pytest.raises(InputError, match="30 frames, fewer than the 57 of a clip"):
        plan(settings(), request(view_condition_video="short.mp4"))
    with pytest.raises(InputError, match=r"(?s)edge.*gone\.mp4"):
        plan(settings(), request("edge", view_condition_video="gone.mp4"))


def test_a_plan_is_quick_and_loads_nothing() -> None:
    assert_quick_and_light(PLAN)


def test_the_command_plans_and_writes_nothing(cosmos: Callable[..., CommandResult]) -> None:
    spec = {"hdmap": {"input_control": ["map.mp4"] * 6}, "view_condition_video": "front.mp4"}
    Path("spec.json").write_text(json.dumps(spec))
    result = cosmos("transfer", "multiview", "--model", "tiny", "--controlnet-specs", "spec.json", "--plan", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["request"]["cameras"][3] == "rear"
    assert result.json["frames"]["made"] == 6 * 57
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_after_one_run_the_memory_of_another_is_known() -> None:
    assert_memory_comes_true(
        RUN.format(controls=["hdmap"], num_steps=3), RUN.format(controls=["hdmap", "lidar"], num_steps=8)
    )
