"""What a plan says of a GPU's memory, beside what a run on that GPU places its weights by, for every kind of model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from cosmos_cli.generation.foresight import Job, foresee_memory, plan_job
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.settings import DIT, REFINER, TEXT, TOKENIZER
from cosmos_cli.generation.work import OFFLOADED_BLOCKS, Rig, Work, memory_stages
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.runtime.machine import Machine
from cosmos_cli.runtime.memory.residence import PARKED, RESIDENT, MemoryPlan, NetworkSize, streamed
from cosmos_plugins.nemo_bridge import inputs as nemo
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings
from cosmos_plugins.predict1_multiview.multiview import inputs as predict1_multiview
from cosmos_plugins.predict1_multiview.multiview import requests as predict1_multiview_requests
from cosmos_plugins.predict1_multiview.text2world import inputs as predict1_text2world
from cosmos_plugins.predict1_multiview.text2world import requests as predict1_text2world_requests
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW as PREDICT1
from cosmos_plugins.predict1_multiview.variants import SINGLE_VIEW
from cosmos_plugins.predict1_multiview.video2world import inputs as predict1_video2world
from cosmos_plugins.predict1_multiview.video2world import requests as predict1_video2world_requests
from cosmos_plugins.predict2.action import inputs as action
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.multiview import inputs as predict2_multiview
from cosmos_plugins.predict2.multiview import requests as predict2_multiview_requests
from cosmos_plugins.predict2.text2image import inputs as text2image
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.variants import VARIANTS as PREDICT2
from cosmos_plugins.predict2.video2world import inputs as video2world
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.transfer1 import inputs as transfer
from cosmos_plugins.transfer1.multiview import inputs as transfer_multiview
from cosmos_plugins.transfer1.multiview import requests as transfer_multiview_requests
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import VARIANTS as TRANSFER
from tests.clips import encode, moving_gradient
from tests.runtime.memory.sizes import size_of

GPU = Machine("cuda", "NVIDIA H200", 140 << 30, 139 << 30, 128 << 30, 120 << 30)
ROUNDING_BYTES = 16
"""A part is rounded for itself in a plan."""


class Kind(NamedTuple):
    """One kind of model at its published size, as a user would ask for it."""

    inputs: ModuleType
    settings: Callable[..., Any]
    request: Callable[..., Any]

    def foreseen(self, settings: dict[str, Any], changes: dict[str, Any]) -> tuple[Plan, MemoryPlan, Work]:
        """The plan, and where a run would have its weights."""
        with_cache = self.settings(cache_dir="cache", checkpoint_dir="empty", **settings)
        job: Job = self.inputs.job_of(with_cache, self.request(**changes))
        return plan_job(with_cache, job, machine=GPU), foresee_memory(with_cache, [job.work], GPU)[1], job.work


def controlled(*controls: str, **values: Any) -> TransferRequest:
    given = {name: {"input_control": "clip.mp4"} for name in controls or ("edge",)}
    return TransferRequest(controls=given, input_video_path="clip.mp4", **values)


def of_cameras(**values: Any) -> Any:
    given = {"hdmap": {"input_control": ["clip.mp4"] * 6}}
    return transfer_multiview_requests.MultiviewRequest(controls=given, view_condition_video="clip.mp4", **values)


def with_four_controls(**values: Any) -> TransferRequest:
    return controlled("edge", "vis", "depth", "seg", **values)


def with_regions(**values: Any) -> TransferRequest:
    region = {"prompt": "A tram.", "region_definitions_path": [0, 0, 0.5, 1]}
    return controlled(regional_prompts=[region, region], **values)


def upscaled(**values: Any) -> TransferRequest:
    return controlled("upscale", **values)


def driving(**values: Any) -> TransferRequest:
    return controlled("hdmap", "lidar", **values)


def going_on(**values: Any) -> Any:
    return of_cameras(initial_condition_video="clip.mp4", num_input_frames=9, **values)


def of_av_sample(**values: Any) -> TransferSettings:
    return TransferSettings(is_av_sample=True, **values)


def unguarded(**values: Any) -> ActionSettings:
    """Llama Guard alone takes more than the networks of this kind."""
    return ActionSettings(disable_guardrail=True, **values)


def continued(**values: Any) -> Video2WorldRequest:
    return Video2WorldRequest(input_path="clip.mp4", prompt="It drifts on.", **values)


def acting(**values: Any) -> ActionRequest:
    return ActionRequest(input_video="clip.mp4", input_annotation="actions.json", **values)


def of_scene(**values: Any) -> Any:
    return predict1_multiview_requests.MultiviewRequest(prompt="A street.", **values)


def begun_scene(**values: Any) -> Any:
    return of_scene(input_image_or_video_path="views.mp4", num_input_frames=9, **values)


def prompted(**values: Any) -> Any:
    return predict1_text2world_requests.Text2WorldRequest(prompt="A street.", **values)


def continued_by_predict1(**values: Any) -> Any:
    return predict1_video2world_requests.Video2WorldRequest(input_image_or_video_path="clip.mp4", **values)


def as_given(**values: Any) -> Any:
    return predict1_text2world_requests.Text2WorldSettings(disable_prompt_upsampler=True, model_size="14B", **values)


def without_pixtral(**values: Any) -> Any:
    """It takes 24 GB alone."""
    return predict1_video2world_requests.Video2WorldSettings(**{"disable_prompt_upsampler": True, **values})


def of_views(**values: Any) -> Any:
    return predict2_multiview_requests.MultiviewRequest(input_path="clip.mp4", prompt="A street.", **values)


def post_trained(**values: Any) -> Any:
    return NemoRequest(prompt="A robot.", conditioned_image_or_video_path="clip.mp4", num_input_frames=9, **values)


KINDS = {
    "nemo": Kind(nemo, NemoSettings, post_trained),
    "predict1 text2world": Kind(predict1_text2world, as_given, prompted),
    "predict1 video2world": Kind(predict1_video2world, without_pixtral, continued_by_predict1),
    "predict1 multiview, text2world": Kind(predict1_multiview, predict1_multiview_requests.MultiviewSettings, of_scene),
    "predict1 multiview, video2world": Kind(
        predict1_multiview, predict1_multiview_requests.MultiviewSettings, begun_scene
    ),
    "transfer, 1 control": Kind(transfer, TransferSettings, controlled),
    "transfer, 4 controls": Kind(transfer, TransferSettings, with_four_controls),
    "transfer, upscale": Kind(transfer, TransferSettings, upscaled),
    "transfer, regions": Kind(transfer, TransferSettings, with_regions),
    "transfer, driving": Kind(transfer, of_av_sample, driving),
    "transfer multiview, t2w": Kind(transfer_multiview, transfer_multiview_requests.MultiviewSettings, of_cameras),
    "transfer multiview, v2w": Kind(transfer_multiview, transfer_multiview_requests.MultiviewSettings, going_on),
    "text2image": Kind(
        text2image, Text2ImageSettings, lambda **values: Text2ImageRequest(prompt="A street.", **values)
    ),
    "video2world": Kind(video2world, Video2WorldSettings, continued),
    "predict2 multiview": Kind(predict2_multiview, predict2_multiview_requests.MultiviewSettings, of_views),
    "action": Kind(action, unguarded, acting),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "alone": {},
    "cp": {"num_gpus": 2, "parallel": "cp=2"},
    "cfg": {"num_gpus": 2, "parallel": "cfg=2"},
    "24GB": {"max_memory": "24GB"},
    "offloaded": {"offload_diffusion_transformer": True},
}


@pytest.fixture(autouse=True)
def folder() -> None:
    encode(Path("clip.mp4"), moving_gradient(130, 36, 64))
    encode(Path("views.mp4"), moving_gradient(54, 36, 64))
    Path("actions.json").write_text(json.dumps([[0.0] * 7] * 12))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("guidance", [7.0, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_counts_the_memory_that_a_run_goes_by(kind: str, guidance: float, settings: str) -> None:
    plan, memory, work = KINDS[kind].foreseen(SETTINGS[settings], {"guidance": guidance})
    assert plan.device_peak is not None
    assert plan.weights == str(memory)
    others = ("driver", "video guardrails")
    counted = plan.device_peak.num_bytes - sum(plan.device_peak.parts.get(name, 0) for name in others)
    assert counted == pytest.approx(memory.peak_bytes, abs=ROUNDING_BYTES)
    # a network that reads texts is guided where the user asks for it
    assert work.is_guided == (guidance > 0 and kind != "action")
    if settings == "24GB":
        assert memory.peak_bytes <= 24e9
        assert "video guardrails" not in plan.device_peak.parts
    elif settings == "offloaded":
        assert memory[DIT] == streamed(OFFLOADED_BLOCKS)
    else:
        assert set(memory.residences) == {RESIDENT}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("transfer", "predict1"))])
def test_sharing_a_video_shares_what_its_tokens_take(kind: str) -> None:
    alone, cp, cfg = (KINDS[kind].foreseen(SETTINGS[name], {})[1] for name in ("alone", "cp", "cfg"))
    working = [next(stage.working_bytes for stage in each.stages if stage.name == DIT) for each in (alone, cp, cfg)]
    assert working[1] < working[0] == working[2]


@pytest.mark.parametrize(("offload", "residence"), [(False, RESIDENT), (True, PARKED)])
def test_what_rewrites_prompts_is_in_the_plan(offload: bool, residence: object) -> None:
    for kind, settings in (
        ("transfer, 1 control", {"upsample_prompt": True, "offload_prompt_upsampler": offload}),
        ("video2world", {"offload_prompt_refiner": offload}),
        ("predict1 video2world", {"disable_prompt_upsampler": False, "offload_prompt_upsampler": offload}),
    ):
        plan, memory, work = KINDS[kind].foreseen(settings, {})
        [stage] = [stage for stage in memory.stages if stage.name == REFINER]
        assert stage.weight_bytes == work.networks.refiner_bytes > 15e9
        assert memory[REFINER] == residence
        assert plan.device_peak is not None
        assert (REFINER in plan.device_peak.parts) == (not offload)
        without = "disable_prompt_refiner" if kind == "video2world" else "offload_prompt_upsampler"
        assert REFINER not in [stage.name for stage in KINDS[kind].foreseen({without: True}, {})[1].stages]


def test_a_plan_streams_what_the_gpu_has_no_room_for() -> None:
    small = Machine("cuda", "NVIDIA L40S", 46 << 30, 20 << 30, 128 << 30, 120 << 30)
    settings = TransferSettings(cache_dir="cache", checkpoint_dir="empty")
    job = transfer.job_of(settings, with_four_controls())
    plan, (_, memory) = plan_job(settings, job, machine=small), foresee_memory(settings, [job.work], small)
    assert "passing through in blocks" in plan.weights
    assert memory[TEXT] != RESIDENT
    assert plan.device_peak is not None
    assert plan.device_peak.parts["DiT"] < 0.8 * sum(stage.weight_bytes for stage in memory.stages if stage.name == DIT)
    assert plan.host_needed_bytes > sum(stage.weight_bytes for stage in memory.stages if stage.name == DIT)


class Size(NamedTuple):
    """What is planned for a network, and what it takes."""

    planned: NetworkSize
    actual: NetworkSize


def sizes() -> dict[str, Size]:
    """Of the networks of both families' published models, none of them filled."""
    of_transfer = transfer.work_of(TransferSettings(), controlled())
    of_predict2 = video2world.work_of(Video2WorldSettings(), continued())
    with torch.device("meta"):
        built: dict[str, tuple[Work, str, list[nn.Module]]] = {
            "transfer": (
                of_transfer,
                DIT,
                [
                    GeneralDiT(TRANSFER["7B"].base(driving=False)),
                    ControlBranch(TRANSFER["7B"].branch(driving=False)),
                ],
            ),
            "transfer tokenizer": (of_transfer, TOKENIZER, [CosmosTokenizer(TRANSFER["7B"].tokenizer)]),
            "predict1 multiview": (
                predict1_multiview.work_of(predict1_multiview_requests.MultiviewSettings(), of_scene()),
                DIT,
                [MultiViewDiT(PREDICT1["7B"].network("text2world"))],
            ),
            "predict1": (
                predict1_text2world.work_of(as_given(), prompted()),
                DIT,
                [GeneralDiT(SINGLE_VIEW["14B"].network("text2world"))],
            ),
            "predict2": (of_predict2, DIT, [MinimalDiT(PREDICT2["2B"].dit)]),
            "predict2 tokenizer": (of_predict2, TOKENIZER, [WanVAE(PREDICT2["2B"].vae)]),
        }
    found = {}
    for name, (work, stage_name, networks) in built.items():
        [stage] = [stage for stage in memory_stages([work], Rig(num_bytes=2)) if stage.name == stage_name]
        for network, size, part in zip(networks, stage.networks, ("", " branch"), strict=False):
            found[name + part] = Size(size, size_of(network, torch.bfloat16))
    return found


def test_weights_are_planned_by_the_sizes_of_the_networks_themselves() -> None:
    for name, (planned, actual) in sizes().items():
        assert planned.total_bytes == pytest.approx(actual.total_bytes, rel=0.001), name
        assert planned.total_bytes >= actual.total_bytes, name
        if "tokenizer" not in name:
            assert planned.num_blocks == actual.num_blocks, name


@pytest.mark.parametrize("name", ["transfer", "transfer branch", "predict1 multiview", "predict1", "predict2"])
def test_what_streams_is_planned_by_the_blocks_that_stream(name: str) -> None:
    planned, actual = sizes()[name]
    assert actual.bytes_with(2) <= planned.bytes_with(2) <= 1.001 * actual.bytes_with(2)
