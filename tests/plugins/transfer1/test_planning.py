from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.generation.command import plan_one
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.plan import Plan
from cosmos_cli.runtime.machine import Machine
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from tests.clips import encode, moving_gradient
from tests.plugins.planned_runs import assert_memory_comes_true, assert_quick_and_light

PLAN = """
import json, sys
from cosmos_cli.generation.command import plan_one
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
request = TransferRequest(controls={{"edge": {{}}, "depth": {{}}}}, input_video_path={input!r})
made = plan_one(inputs, TransferSettings(cache_dir="cache"), request)
print(json.dumps([made.document(), list(sys.modules)]))
"""
RUN = """
import json
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.watch import Watch
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
settings = TransferSettings(model_size="tiny", cache_dir="cache")
request = TransferRequest(controls={controls}, input_video_path={input!r}, num_steps={num_steps}, overwrite=True)
sample = inputs.check(settings, request)()
planned = plan_job(settings, inputs.job_of(settings, request))
from cosmos_plugins.transfer1.pipeline import TransferPipeline
pipeline = TransferPipeline.load(settings, [request])
watch = Watch(planned, from_process_start=True)
print(json.dumps(watch.finish(pipeline.write(pipeline.make(sample)).seconds)))
"""


def tiny_or(**values: Any) -> TransferSettings:
    """Settings of the tiny model, or of another."""
    return TransferSettings(**{"model_size": "tiny", "cache_dir": "cache", **values})


def request(clip: Path, *controls: str, **values: Any) -> TransferRequest:
    return TransferRequest(controls={name: {} for name in controls or ("edge",)}, input_video_path=clip, **values)


def plan(settings: TransferSettings, request: TransferRequest) -> Plan:
    return plan_one(inputs, settings, request)


def stages(settings: TransferSettings, made_of: TransferRequest) -> dict[str, Any]:
    return {estimate.stage.name: estimate.stage for estimate in plan(settings, made_of).estimates}


def test_a_published_model_lists_all_that_is_missing(clip: Path) -> None:
    document = plan(tiny_or(model_size="7B"), request(clip, "edge", "depth")).document()
    names = [Path(file["path"]).name for file in document["files"]["needed"] if not file["is_present"]]
    assert {"base_model.pt", "edge_control.pt", "depth_control.pt", "autoencoder.jit", "tokenizer.json"} <= {*names}
    assert "Depth-Anything-V2" in str(document["not_counted"])


def test_frames_are_padded_to_chunks(tmp_path: Path) -> None:
    clip = encode(tmp_path / "long.mp4", moving_gradient(50, 72, 96))
    frames = plan(tiny_or(), request(clip)).frames
    assert (frames.given, frames.made, frames.computed, frames.chunks) == (50, 50, 65, 2)
    assert (frames.height, frames.width) == (80, 112)


def test_a_clip_that_fills_one_more_chunk_hardly_is_told_of(tmp_path: Path) -> None:
    planned = plan(tiny_or(), request(encode(tmp_path / "long.mp4", moving_gradient(34, 72, 96))))
    assert "34 frames take 2 chunks of 33; 33 frames, 1 fewer, would take 1" in planned.told[0]
    assert planned.told[0] in planned.text()


def test_every_control_adds_its_branch_and_every_chunk_its_passes(clip: Path) -> None:
    settings = tiny_or()
    one, two = (stages(settings, request(clip, *names)) for names in (["edge"], ["edge", "vis"]))
    assert one["denoise"].num_passes == 72 * 2  # 36 evaluations, guided, base and branch
    # two of the base's four blocks, with a projection of what they give
    assert two["denoise"].flops - one["denoise"].flops == pytest.approx(0.5 * one["denoise"].flops / 1.5, rel=0.2)
    assert two["encode"].flops == pytest.approx(1.5 * one["encode"].flops)


def test_the_distilled_model_does_one_pass_without_guidance(clip: Path) -> None:
    denoise = stages(tiny_or(use_distilled=True), request(clip))["denoise"]
    assert denoise.num_passes == 2


def test_upscaling_is_nine_tiles_and_three_times_the_size(clip: Path) -> None:
    settings = tiny_or()
    made, plain = plan(settings, request(clip, "upscale")), plan(settings, request(clip))
    assert (made.frames.height, made.frames.width) == (240, 336)
    work = inputs.work_of(settings, request(clip))
    texts = work.num_contexts * sum(network.text_flops() for network in work.networks.denoising)
    assert made.estimates[3].stage.flops == pytest.approx(9 * plain.estimates[3].stage.flops - 8 * texts)


def test_offloading_takes_weights_off_a_gpu(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Machine("cuda", "NVIDIA H200", 140 << 30, 139 << 30, 128 << 30, 120 << 30)
    monkeypatch.setattr("cosmos_cli.generation.foresight.find_machine", lambda device: gpu)
    kept, offloaded = (
        plan(tiny_or(model_size="7B", offload_diffusion_transformer=value), request(clip)) for value in (False, True)
    )
    assert kept.precision == "bfloat16"
    assert kept.device_peak is not None
    assert offloaded.device_peak is not None
    assert kept.device_peak.stage == "denoise"
    # four of the base's 28 blocks are there at a time; the branch has but three
    block_bytes = 2 * inputs.work_of(tiny_or(model_size="7B"), request(clip)).networks.dit.block_parameters
    saved_bytes = kept.device_peak.num_bytes - offloaded.device_peak.num_bytes
    assert saved_bytes == pytest.approx(24 * block_bytes, rel=0.001)
    assert saved_bytes == kept.device_peak.parts["DiT"] - offloaded.device_peak.parts["DiT"]
    both = tiny_or(model_size="7B", offload_diffusion_transformer=True, offload_text_encoder_model=True)
    offloaded = plan(both, request(clip))
    assert offloaded.device_peak is not None
    # the text encoder has the device for itself
    assert offloaded.device_peak.stage == "encode_text"
    assert offloaded.device_peak.parts["text encoder"] == pytest.approx(19.5e9, rel=0.01)
    assert "DiT" not in offloaded.device_peak.parts
    assert offloaded.host_needed_bytes > 16e9 + 19e9


def test_offloading_frees_nothing_on_a_cpu(clip: Path) -> None:
    kept, offloaded = (
        plan(tiny_or(model_size="7B", device="cpu", offload_diffusion_transformer=value), request(clip))
        for value in (False, True)
    )
    assert offloaded.host_peak == kept.host_peak


def test_a_wrong_request_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    wrong = TransferRequest(controls={"edges": {}}, input_video_path=tmp_path / "no.mp4")
    with pytest.raises(InputError, match=r"(?s)edges.*does not exist"):
        plan(tiny_or(), wrong)


def test_a_plan_is_quick_and_loads_nothing(clip: Path) -> None:
    assert_quick_and_light(PLAN.format(input=str(clip)))


@pytest.mark.slow
def test_after_one_run_the_memory_of_another_is_known(clip: Path) -> None:
    edge, two = {"edge": {}}, {"edge": {}, "vis": {}}
    assert_memory_comes_true(
        RUN.format(input=str(clip), controls=edge, num_steps=3), RUN.format(input=str(clip), controls=two, num_steps=12)
    )


def test_guardrails_take_memory_before_the_model_is_loaded_and_after_the_video_is_made(clip: Path) -> None:
    gpu = Machine("cuda", "NVIDIA H200", 140 << 30, 139 << 30, 128 << 30, 120 << 30)
    settings = tiny_or(model_size="7B")
    published = plan_job(settings, inputs.job_of(settings, request(clip)), machine=gpu)
    parts = published.device_peak.parts if published.device_peak else {}
    assert parts["video guardrails"] == 1_900_000_000
    assert "Llama Guard" not in parts  # it has left when the DiT is there
    small = plan(tiny_or(), request(clip)).host_peak.parts
    assert not {"video guardrails", "Llama Guard"} & {*small}
