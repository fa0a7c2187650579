"""Pictures out of prompts, on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import first_frames, scaling
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.image import read_image
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.requests import read_request_file, validate
from cosmos_plugins.predict2.denoise import guided_by_texts, sample_distilled, sample_latents
from cosmos_plugins.predict2.text2image.inputs import check
from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.variants import DISTILLED_SIGMAS, TEXT2IMAGE

TINY = Text2ImageSettings(model_size="tiny", cache_dir=Path("cache"))


def a_request(**changes: object) -> Text2ImageRequest:
    return Text2ImageRequest(**{"prompt": "A bus in the rain.", "save_path": "out.png", "num_steps": 3, **changes})


@pytest.fixture(scope="module")
def resident() -> Text2ImagePipeline:
    return Text2ImagePipeline.load(TINY)


@pytest.mark.parametrize(("aspect_ratio", "size"), sorted(TEXT2IMAGE["tiny"].sizes.items()))
def test_every_shape_has_its_size(resident: Text2ImagePipeline, aspect_ratio: str, size: tuple[int, int]) -> None:
    result = resident(a_request(aspect_ratio=aspect_ratio))
    assert read_image(result.image).shape == (*size, 3)
    assert (result.height, result.width) == size


def test_published_sizes_fit_the_network() -> None:
    for name, variant in TEXT2IMAGE.items():
        for height, width in variant.sizes.values():
            assert height % 16 == width % 16 == 0, name
            assert max(height, width) // 16 <= 120, name


@pytest.mark.parametrize(("size", "name"), [("0.6B", "0p6b"), ("2B", "2b"), ("14B", "14b")])
def test_the_published_networks_have_the_published_weights(golden: Path, size: str, name: str) -> None:
    published = json.loads((golden / "manifests" / f"predict2_{name}_text2image.json").read_text())
    with torch.device("meta"):
        network = MinimalDiT(TEXT2IMAGE[size].dit)
    own = {f"net.{key}": list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert own == {key: entry["shape"] for key, entry in published.items() if entry["kind"] == "parameter"}
    assert network.config.rope_h_extrapolation_ratio == network.config.rope_w_extrapolation_ratio == 4.0


def test_the_seed_the_prompt_and_the_guidance_make_the_picture(resident: Text2ImagePipeline) -> None:
    def picture(**changes: object) -> bytes:
        return resident(a_request(overwrite=True, **changes)).image.read_bytes()

    usual = picture()
    assert picture() == usual
    for change in ({"seed": 1}, {"prompt": "A cat."}, {"guidance": 1.0}, {"negative_prompt": "rain"}):
        assert picture(**change) != usual, change


def test_the_sampling_loop_is_that_of_the_formulas(resident: Text2ImagePipeline) -> None:
    """Against a loop that scales, guides and calls the network by hand."""
    shape = (1, 16, 1, 10, 18)
    nothing = first_frames(torch.zeros(shape), 0)
    text, negative = torch.randn(2, 1, 512, 128, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        dit = resident.models.dit
        denoiser = guided_by_texts(dit, text, negative, nothing, guidance=4.0, dtype=torch.float32)
        actual = sample_latents(denoiser, nothing, Clock(), num_steps=4, seed=5)

        def x0(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            c = scaling(sigma)
            cond, uncond = (
                c.c_skip * x + c.c_out * dit(c.c_in * x, c.c_noise.view(1, 1), context) for context in (text, negative)
            )
            return cond + 4.0 * (cond - uncond)

        expected = sample_ab2(x0, arch_invariant_noise(shape, 5) * 80, karras_sigmas(4, 0.002, 80))
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_a_distilled_model_that_knows_the_picture_returns_it_and_visits_each_level_once(num_steps: int) -> None:
    x0 = torch.randn(1, 16, 1, 4, 4)
    levels = []

    def velocity(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        t = timesteps.view(1, 1, 1, 1, 1)
        levels.append(float(t / (1 - t)))
        return (x - (1 - t) * x0) / t - x0

    sigmas = DISTILLED_SIGMAS[:num_steps]
    nothing = first_frames(torch.zeros_like(x0), 0)
    made = sample_distilled(velocity, nothing, Clock(), sigmas, seed=0, dtype=torch.float32)
    torch.testing.assert_close(made, x0, atol=1e-3, rtol=0)
    assert levels == pytest.approx(sigmas, rel=1e-4)


def test_jpeg_or_png_by_the_name_and_jpeg_without_one(resident: Text2ImagePipeline) -> None:
    written = {name: resident(a_request(save_path=name)).image for name in ("a.png", "b.jpg", "c.JPEG", "d")}
    assert written["a.png"].read_bytes().startswith(b"\x89PNG")
    assert all(written[name].read_bytes().startswith(b"\xff\xd8\xff") for name in ("b.jpg", "c.JPEG", "d"))
    assert written["d"].name == "d.jpg"


def test_the_sidecar_makes_the_same_picture_again(resident: Text2ImagePipeline) -> None:
    first = resident(a_request(seed=9, guidance=2.5))
    models = [Text2ImageRequest, Text2ImageSettings]
    values = read_request_file(first.sidecar, models) | {"save_path": "again.png"}
    request, settings = validate(models, values)
    again = Text2ImagePipeline.load(settings)(request)
    assert again.image.read_bytes() == first.image.read_bytes()
    document = json.loads(first.sidecar.read_text())
    assert document["command"] == "cosmos predict2 text2image"
    assert any("random weights" in notice for notice in document["notices"])


BAD = {
    "suffix": ({}, {"save_path": "out.gif"}, ".jpg or .jpeg or .png"),
    "taken": ({}, {"save_path": "taken.png"}, "--overwrite"),
    "folder": ({}, {"save_path": "."}, "folder"),
    "fast tokenizer": ({"use_fast_tokenizer": True}, {}, "runs no program"),
    "EMA of nothing": ({"load_ema": True}, {}, "--dit-path"),
    "too many GPUs": ({"num_gpus": 8}, {}, "cannot share"),
    "several at a time": ({"num_gpus": 2, "parallel": "dp=2"}, {}, "one to make"),
    "halves of no guidance": ({"num_gpus": 2, "parallel": "cfg=2", "distill_steps": 1}, {}, "no guidance"),
    "a layout for one GPU": ({"parallel": "cp=2"}, {}, "--num-gpus"),
    "shared tokens compiled": ({"num_gpus": 2, "parallel": "cp=2", "compile": True}, {}, "cannot compile"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    Path("taken.png").write_text("an earlier picture")
    settings, request, hint = BAD[case]
    with pytest.raises(InputError, match=hint):
        check(TINY.model_copy(update=settings), a_request(**request))


@pytest.mark.parametrize(
    ("size", "steps", "file"),
    [(size, 0, "model.pt") for size in ("0.6B", "2B", "14B")] + [("0.6B", 4, "model_distilled.pt")],
)
def test_missing_checkpoints_are_named_with_their_download(size: str, steps: int, file: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check(Text2ImageSettings(model_size=size, distill_steps=steps), a_request())
    text = str(caught.value)
    folder = f"nvidia/Cosmos-Predict2-{size}-Text2Image"
    assert f"{folder}: {file}, tokenizer/tokenizer.pth missing" in text
    rest = f" {folder}/{file}" if steps else ""
    assert f"cosmos download predict2/text2image-{size}{rest}\n" in text
    assert "--model tiny" in text
