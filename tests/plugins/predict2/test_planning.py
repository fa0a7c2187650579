from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.generation.command import plan_one
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.rates import Stage
from cosmos_cli.runtime.machine import Machine
from cosmos_plugins.predict2.video2world import inputs
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
from tests.plugins.planned_runs import assert_memory_comes_true, assert_quick_and_light

PLAN = """
import json, sys
from cosmos_cli.generation.command import plan_one
from cosmos_plugins.predict2.video2world import inputs
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
settings = Video2WorldSettings(model_size="2B", cache_dir="cache")
made = plan_one(inputs, settings, Video2WorldRequest(input_path={input!r}, prompt="On."))
print(json.dumps([made.document(), list(sys.modules)]))
"""
RUN = """
import json
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.watch import Watch
from cosmos_plugins.predict2.video2world import inputs
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
settings = Video2WorldSettings(model_size="tiny", cache_dir="cache", {settings})
request = Video2WorldRequest(input_path={input!r}, prompt="On and {num_steps}.", num_frames={num_frames},
                             num_steps={num_steps}, overwrite=True)
sample, planned = inputs.check(settings, request)(), plan_job(settings, inputs.job_of(settings, request))
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
pipeline = Video2WorldPipeline.load(settings, [request])
watch = Watch(planned, from_process_start=True)
print(json.dumps(watch.finish(pipeline.write(pipeline.make(sample)).seconds)))
"""


def settings_of(model_size: str, **values: Any) -> Video2WorldSettings:
    return Video2WorldSettings(**{"model_size": model_size, "cache_dir": "cache", **values})


def request(picture: Path, **values: Any) -> Video2WorldRequest:
    return Video2WorldRequest(input_path=picture, prompt="The slope drifts on.", **values)


def plan(settings: Video2WorldSettings, request: Video2WorldRequest) -> Plan:
    return plan_one(inputs, settings, request)


def denoising(made: Plan) -> Stage:
    return next(e.stage for e in made.estimates if e.stage.name == "denoise")


def test_a_published_model_lists_all_that_is_missing(picture: Path) -> None:
    document = plan(settings_of("14B", resolution="480"), request(picture)).document()
    needed = {Path(file["path"]).name: file for file in document["files"]["needed"]}
    assert needed["model-480p-16fps.pt"]["num_bytes"] == 28_531_000_000
    assert not any(file["is_present"] for file in needed.values())
    assert {"Apache-2.0", "NVIDIA Open Model License"} <= set(document["files"]["licences"])
    assert any("missing" in problem for problem in document["problems"])


def test_the_work_of_a_published_run_is_what_its_networks_do(picture: Path) -> None:
    settings = settings_of("2B", resolution="720", device="cpu")
    denoise = denoising(plan(settings, request(picture)))
    assert denoise.num_passes == 72
    assert denoise.flops == pytest.approx(1.38e17, rel=0.02)  # 24 latent frames of 44 x 80 patches
    unguided = denoising(plan(settings, request(picture, guidance=0)))
    assert unguided.flops == pytest.approx(denoise.flops / 2, rel=0.001)


def test_sparse_attention_is_less_work(picture: Path) -> None:
    dense, sparse = (
        plan(settings_of("2B", resolution="720", natten=natten), request(picture)) for natten in (False, True)
    )
    assert denoising(sparse).flops < 0.5 * denoising(dense).flops
    assert sparse.model != dense.model


def test_a_length_between_latent_frames_is_computed_longer_and_cut(picture: Path) -> None:
    frames = plan(settings_of("tiny"), request(picture, num_frames=11)).frames
    assert (frames.given, frames.made, frames.computed, frames.height, frames.width) == (1, 11, 13, 64, 112)


def test_chunks_are_computed_one_after_the_other(picture: Path) -> None:
    one, three = (plan(settings_of("tiny"), request(picture, num_frames=9, num_chunks=count)) for count in (1, 3))
    assert (three.frames.made, three.frames.chunks) == (25, 3)
    assert denoising(three).flops == pytest.approx(3 * denoising(one).flops)


def test_a_wrong_request_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    settings = settings_of("tiny", natten=True)
    with pytest.raises(InputError, match=r"(?s)natten.*mp4.*does not exist"):
        plan(settings, Video2WorldRequest(input_path=tmp_path / "no.png", prompt="On.", save_path="out.avi"))


def test_a_picture_for_five_frames_is_refused(picture: Path) -> None:
    with pytest.raises(InputError, match=r"still picture.* 5 needs a video. Give a video"):
        plan(settings_of("tiny"), request(picture, num_conditional_frames=5))


def test_an_existing_output_is_a_problem_of_a_plan_and_keeps_nothing_back(picture: Path) -> None:
    Path("out.mp4").touch()
    settings, existing = settings_of("tiny"), request(picture, save_path="out.mp4")
    planned = plan_one(inputs, settings, existing)
    assert planned.seconds > 0
    assert [problem for problem in planned.problems() if "exists already" in problem] == [
        "out.mp4 exists already. Choose another name, or pass --numbered for the next that is free, or --overwrite."
    ]
    assert not plan_one(inputs, settings, existing.model_copy(update={"overwrite": True})).faults


def test_a_plan_for_a_gpu_has_the_weights_where_the_run_would(picture: Path) -> None:
    def on(gibibytes: int, **values: Any) -> Plan:
        settings = settings_of("14B", disable_prompt_refiner=True, disable_guardrail=True, **values)
        size = gibibytes << 30
        machine = Machine("cuda", "Some GPU", size, size, 256 << 30, 256 << 30)
        return plan_job(settings, inputs.job_of(settings, request(picture)), machine=machine)

    def peak(made: Plan) -> int:
        assert made.device_peak is not None
        return made.device_peak.num_bytes

    assert on(140).weights == "everything on the device"
    assert peak(on(140)) > 32 << 30
    assert "diffusion transformer passing through in blocks" in on(32).weights
    assert peak(on(32)) <= 32 << 30
    assert not on(32).problems()[1:]  # but for the files that are missing
    limited, offloaded = on(140, max_memory="32GiB"), on(140, offload_diffusion_transformer=True)
    assert "in blocks" in limited.weights
    assert "in blocks" in offloaded.weights
    assert peak(limited) <= (32 << 30) + 600e6  # and the driver
    assert not any("weights" in notice for notice in offloaded.notices)


def test_a_plan_is_quick_and_loads_nothing(clip: Path) -> None:
    assert_quick_and_light(PLAN.format(input=str(clip)))


@pytest.mark.slow
def test_after_one_run_the_memory_of_another_is_known(picture: Path) -> None:
    tiny = {"input": str(picture), "settings": ""}
    assert_memory_comes_true(
        RUN.format(**tiny, num_frames=9, num_steps=8), RUN.format(**tiny, num_frames=41, num_steps=16)
    )


@pytest.mark.slow
def test_memory_is_known_where_pictures_and_not_python_need_it(picture: Path) -> None:
    large = {"input": str(picture), "settings": 'resolution="480"'}
    assert_memory_comes_true(
        RUN.format(**large, num_frames=5, num_steps=1), RUN.format(**large, num_frames=9, num_steps=1)
    )
