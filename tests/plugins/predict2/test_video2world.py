"""Video2World as a user runs it, on the tiny model."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_frames, to_video
from cosmos_cli.media.image import read_image
from cosmos_cli.media.preview import Row, contact_sheet
from cosmos_cli.media.resize import cover_and_crop
from cosmos_cli.media.video import read_last_frames, read_video, write_video
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict2.denoise import guided_by_texts, sample_latents
from cosmos_plugins.predict2.variants import VARIANTS
from cosmos_plugins.predict2.video2world.inputs import check, weight_paths
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

Run = Callable[..., CommandResult]


def tiny_vae() -> WanVAE:
    paths = weight_paths(Video2WorldSettings(model_size="tiny"))
    return load_network(lambda: WanVAE(VARIANTS["tiny"].vae), paths["tokenizer"], dtype=torch.float32)


def held(frames: np.ndarray) -> np.ndarray:
    """What the tokenizer, and then H.264, can hold of some frames."""
    vae = tiny_vae()
    write_video(
        Path("held.mp4"), to_frames(vae.decode(vae.encode(to_video(frames, torch.device("cpu"), torch.float32)))), 16
    )
    return read_video(Path("held.mp4")).frames_FHWC


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("reason", [errno.EROFS, errno.ENOSPC, errno.ESTALE])
def test_a_cache_that_can_no_longer_be_written_costs_a_note_and_no_video(
    video2world: Run, picture: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    assert video2world("--input-path", picture, "--save-path", "warm.mp4").exit_code == 0
    open_file = os.open

    def read_only(path: object, flags: int, *others: int, **more: int) -> int:
        if "/cache/" in os.fspath(path) and flags & os.O_CREAT:  # type: ignore[call-overload]
            raise OSError(reason, os.strerror(reason))
        return open_file(path, flags, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    result = video2world("--input-path", picture)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("cannot be used") == result.stderr.count(f"{os.strerror(reason)}; going on") == 1
    assert Path("out.mp4").read_bytes() == Path("warm.mp4").read_bytes()
    assert Path("out.json").is_file()


@pytest.mark.parametrize(("aspect_ratio", "size"), sorted(VARIANTS["tiny"].sizes["tiny"].items()))
def test_frame_count_size_and_rate_are_those_asked_for(
    video2world: Run, picture: Path, aspect_ratio: str, size: tuple[int, int]
) -> None:
    result = video2world(
        "--input-path", picture, "--aspect-ratio", aspect_ratio, "--fps", 10, "--num-frames", 7, "--json"
    )
    assert result.exit_code == 0, result.stderr
    video = read_video(Path("out.mp4"))
    assert video.frames_FHWC.shape == (7, *size, 3)
    assert video.fps == 10
    document = result.json
    assert document["status"] == "ok"
    assert (document["num_frames"], document["height"], document["width"], document["fps"]) == (7, *size, 10)


def test_the_native_length_is_93_frames_at_16_fps_and_61_at_10_and_of_tiny_less(picture: Path) -> None:
    request = Video2WorldRequest(input_path=picture, prompt="x")
    for fps, published, tiny in ((16, 93, 17), (10, 61, 13)):
        assert VARIANTS["2B"].num_frames[fps] == published
        settings = Video2WorldSettings(model_size="tiny", fps=fps)
        assert check(settings, request)().num_frames == tiny


@pytest.mark.parametrize("size", [(37, 500), (500, 37), (1, 1)])
def test_sources_of_any_size(video2world: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    iio.imwrite(tmp_path / "odd.png", np.full((*size, 3), 99, np.uint8))
    assert video2world("--input-path", tmp_path / "odd.png", "--num-frames", 1).exit_code == 0


def test_the_picture_comes_back_as_the_first_frame_as_well_as_the_tokenizer_holds_it(
    video2world: Run, picture: Path
) -> None:
    assert video2world("--input-path", picture).exit_code == 0
    expected = held(cover_and_crop(read_image(picture)[None], 64, 112))
    first = read_video(Path("out.mp4")).frames_FHWC[:1]
    assert mean_difference(first, expected) < 2
    assert mean_difference(first, expected[:, ::-1]) > 8


def test_the_last_five_frames_of_a_clip_begin_the_video(video2world: Run, clip: Path) -> None:
    prompt = "港口的雨夜"
    options = ("--num-conditional-frames", 5, "--prompt", prompt, "--preview")
    assert video2world("--input-path", clip, *options).exit_code == 0
    given = cover_and_crop(read_last_frames(clip, 5).frames_FHWC, 64, 112)
    # without its title, which may be rewritten, and its margin; 7 is the first of the last five
    above = contact_sheet("", [Row("input", given, 7)])[32:-12]
    np.testing.assert_array_equal(read_image(Path("out.png"))[32 : 32 + len(above)], above)
    expected = held(given)
    video = read_video(Path("out.mp4")).frames_FHWC
    assert len(video) == 9
    assert mean_difference(video[:5], expected) < 4  # H.264 spends its bits otherwise in a clip that goes on
    assert mean_difference(video[4:9], expected) > 8


def test_one_frame_of_a_clip_is_its_last(clip: Path) -> None:
    sample = check(Video2WorldSettings(model_size="tiny"), Video2WorldRequest(input_path=clip, prompt="x"))()
    whole = read_video(clip).frames_FHWC
    np.testing.assert_array_equal(sample.frames_FHWC, cover_and_crop(whole[-1:], 64, 112))


def test_the_same_seed_gives_the_same_frames_and_another_seed_does_not(video2world: Run, picture: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert video2world("--input-path", picture, "--seed", seed, "--save-path", f"{name}.mp4").exit_code == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    assert Path("a.mp4").read_bytes() != Path("c.mp4").read_bytes()


def test_a_pipeline_serves_many_requests_as_if_each_were_the_first(picture: Path, clip: Path) -> None:
    settings = Video2WorldSettings(model_size="tiny")
    common = {"prompt": "x", "num_frames": 5, "num_steps": 2}
    resident = Video2WorldPipeline.load(settings)
    for name, path in (("a.mp4", picture), ("b.mp4", clip)):
        resident(Video2WorldRequest(input_path=path, save_path=name, **common))
    alone = Video2WorldPipeline.load(settings)
    alone(Video2WorldRequest(input_path=clip, save_path="c.mp4", **common))
    assert Path("b.mp4").read_bytes() == Path("c.mp4").read_bytes()


def test_the_sidecar_makes_the_same_video_again(video2world: Run, picture: Path, cosmos: Run) -> None:
    assert video2world("--input-path", picture, "--seed", 11, "--guidance", "3.5", "--preview").exit_code == 0
    sidecar = json.loads(Path("out.json").read_text())
    assert sidecar["request"]["guidance"] == 3.5
    assert Path(sidecar["request"]["input_path"]).is_absolute()
    assert sidecar["result"]["num_frames"] == 9
    assert read_image(Path("out.png")).shape[2] == 3
    again = cosmos("predict2", "video2world", "--from-file", "out.json", "--save-path", "again.mp4")
    assert again.exit_code == 0, again.stderr
    assert Path("again.mp4").read_bytes() == Path("out.mp4").read_bytes()


def test_what_did_not_run_is_said_plainly_and_recorded(video2world: Run, picture: Path) -> None:
    result = video2world("--input-path", picture, "--prompt", "The slope drifts on")
    for words in (
        "guardrail: this model has a short word list",
        "a rule writes every prompt as a sentence",
        "rendered rooms",
    ):
        assert words in result.stderr
    sidecar = json.loads(Path("out.json").read_text())
    assert len(sidecar["result"]["not_run"]) == 2
    given = sidecar["request"]["prompt"]
    assert sidecar["prompt_used"] == f"{given}."
    assert sidecar["refined_by"] == ["sentence-by-rule"]
    disabled = video2world(
        "--input-path", picture, "--disable_guardrail", "--disable_prompt_refiner", "--overwrite", "--json"
    )
    assert all("disabled" in line for line in disabled.json["not_run"])


def test_options_of_the_original_script_are_accepted_as_they_were_typed(video2world: Run, picture: Path) -> None:
    result = video2world(
        "--input_path", picture, "--num_conditional_frames", 1, "--aspect_ratio", "1:1", "--offload_text_encoder",
        "--downcast_text_encoder", "--offload_guardrail", "--offload_prompt_refiner", "--use_cuda_graphs",
        "--num_gpus", 1, "--negative_prompt", "",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr


def test_a_prompt_seen_before_needs_no_text_encoder(video2world: Run, picture: Path) -> None:
    first = video2world("--input-path", picture)
    again = video2world("--input-path", picture, "--save-path", "again.mp4")
    assert "Loading the text encoder" in first.stderr
    assert "Loading the text encoder" not in again.stderr
    assert Path("out.mp4").read_bytes() == Path("again.mp4").read_bytes()


def test_a_post_trained_dit_is_used_and_its_averaged_weights_on_request(
    video2world: Run, picture: Path, tmp_path: Path
) -> None:
    published = torch.load(weight_paths(Video2WorldSettings(model_size="tiny"))["dit"], weights_only=True)
    changed = {key: tensor * 0.5 for key, tensor in published.items()}
    averaged = {key.replace("net.", "net_ema."): tensor for key, tensor in published.items()}
    torch.save(changed | averaged, tmp_path / "mine.pt")
    for name, options in (("stock", ()), ("mine", ("--dit-path",)), ("ema", ("--load-ema", "--dit-path"))):
        extra = (*options, tmp_path / "mine.pt") if options else ()
        assert video2world("--input-path", picture, "--save-path", f"{name}.mp4", *extra).exit_code == 0
    assert Path("stock.mp4").read_bytes() == Path("ema.mp4").read_bytes()
    assert Path("stock.mp4").read_bytes() != Path("mine.mp4").read_bytes()


def test_a_lora_of_peft_changes_the_video_as_its_merged_weights_do(
    video2world: Run, picture: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    published = weight_paths(Video2WorldSettings(model_size="tiny"))["dit"]
    dit = load_network(
        lambda: MinimalDiT(VARIANTS["tiny"].dit),
        published,
        naming=PUBLISHED,
        dtype=torch.float32,
    )
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "mlp.layer1"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = peft.get_peft_model(dit, config)
        for name, weight in student.named_parameters():
            if "lora_B" in name:  # peft begins with zeros
                torch.nn.init.normal_(weight, std=0.05)
    student.save_pretrained(tmp_path / "lora")
    merged = student.merge_and_unload().state_dict()
    torch.save({f"net.{name}": weight for name, weight in merged.items()}, tmp_path / "merged.pt")
    options: dict[str, tuple[object, ...]] = {
        "stock": (),
        "lora": ("--lora-path", tmp_path / "lora"),
        "merged": ("--dit-path", tmp_path / "merged.pt"),
        "same": ("--lora-path", tmp_path / "lora", "--lora-alpha", 8),
        "weaker": ("--lora-path", tmp_path / "lora", "--lora-alpha", 2),
    }
    for name, extra in options.items():
        result = video2world("--input-path", picture, "--save-path", f"{name}.mp4", *extra)
        assert result.exit_code == 0, result.stderr
    frames = {name: read_video(Path(f"{name}.mp4")).frames_FHWC for name in options}
    assert mean_difference(frames["lora"], frames["merged"]) < 0.01
    assert mean_difference(frames["lora"], frames["stock"]) > 1
    assert Path("lora.mp4").read_bytes() == Path("same.mp4").read_bytes()
    assert mean_difference(frames["lora"], frames["weaker"]) > 1
    sidecar = json.loads(Path("lora.json").read_text())
    assert sidecar["weights"]["lora"]["path"] == str(tmp_path / "lora")
    assert sidecar["request"]["lora_path"] == str(tmp_path / "lora")


def test_a_lora_that_is_missing_or_has_only_an_alpha_is_refused(video2world: Run, picture: Path) -> None:
    missing = video2world("--input-path", picture, "--lora-path", "gone", "--json")
    assert (missing.exit_code, missing.json["problems"][0]["where"]) == (4, "--lora-path")
    alone = video2world("--input-path", picture, "--lora-alpha", 8, "--json")
    assert (alone.exit_code, alone.json["problems"][0]["where"]) == (2, "--lora-alpha")
    assert not Path("out.mp4").exists()


def test_benchmark_reports_the_mean_of_three_runs(video2world: Run, picture: Path) -> None:
    result = video2world("--input-path", picture, "--num-frames", 1, "--num-steps", 1, "--benchmark", "--json")
    assert result.json["seconds"]["benchmark_mean"] > 0
    assert any("mean of 3 runs" in notice for notice in result.json["notices"])


def test_without_guidance_the_network_runs_once_per_level() -> None:
    pipeline = Video2WorldPipeline.load(Video2WorldSettings(model_size="tiny"))
    dit, given = pipeline.models.dit, first_frames(torch.zeros(1, 16, 2, 12, 12), 1)
    text, negative = torch.randn(2, 1, 512, 128)
    calls: list[int] = []
    hook = dit.register_forward_hook(lambda *_: calls.append(1))
    results = {}
    for guidance in (0.0, 1e-12, 7.0):
        calls.clear()
        denoiser = guided_by_texts(dit, text, negative, given, guidance=guidance, dtype=torch.float32)
        results[guidance] = sample_latents(denoiser, given, Clock(), num_steps=3, seed=0)
        assert len(calls) == (4 if guidance == 0 else 8)
    hook.remove()
    torch.testing.assert_close(results[0.0], results[1e-12], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(results[0.0], results[7.0])
