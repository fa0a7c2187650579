"""Training the tokenizers of the tiny models, and what ships of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.errors import InputError
from cosmos_cli.models.configs import TINY_COSMOS_TOKENIZER, TINY_WAN_VAE
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.data.order import generator_of
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.experiments import find
from cosmos_cli.training.tokenizer_start import start
from cosmos_cli.worlds import shipping

CPU = torch.device("cpu")
RECIPES = {"wan": ("predict2", "tiny_wan_tokenizer"), "cosmos": ("transfer", "tiny_cosmos_tokenizer")}
BUILD: dict[str, Any] = {
    "wan": lambda: WanVAE(TINY_WAN_VAE),
    "cosmos": lambda: CosmosTokenizer(TINY_COSMOS_TOKENIZER),
}


@pytest.fixture(params=BUILD)
def network(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return BUILD[request.param]()


def clips(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_training_sees_what_inference_sees(network: Any) -> None:
    video = clips(2, 3, 17, 16, 24)
    again, latents = network(video)
    assert again.requires_grad
    encoded = torch.cat([network.encode(clip[None]) for clip in video])
    torch.testing.assert_close(latents, encoded, atol=1e-5, rtol=1e-5)
    decoded = torch.cat([network.decode(each[None]) for each in encoded])
    torch.testing.assert_close(again, decoded, atol=1e-4, rtol=1e-4)
    picture, _ = network(video[:1, :, :1])
    torch.testing.assert_close(picture, network.decode(network.encode(video[:1, :, :1])), atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_the_numbers(network: Any) -> None:
    video = clips(1, 3, 9, 16, 16)

    def error() -> Tensor:
        return network(video)[0].double().square().mean()

    error().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
    part = network.encoder if isinstance(network.encoder, nn.Module) else network
    weight = max(part.parameters(), key=lambda each: each.grad.norm())
    along = weight.grad / weight.grad.norm()
    with torch.no_grad():
        weight += 1e-3 * along
        above = error()
        weight -= 2e-3 * along
        below = error()
    assert float(above - below) / 2e-3 == pytest.approx(float(weight.grad.norm()), rel=0.05)


@pytest.mark.parametrize("which", RECIPES)
def test_it_begins_with_what_shows_colours(which: str) -> None:
    recipe = find(*RECIPES[which])
    dataset = open_dataset(recipe)
    clips = [dataset.example(number, generator_of(number)).frames_FHWC for number in range(16)]
    video = torch.stack(clips).movedim(-1, 1) / 127.5 - 1
    torch.manual_seed(0)
    network = BUILD[which]()
    start(network, video[:12])
    with torch.no_grad():
        again, latents = network(video[12:])
    seen = video[12:]
    assert -10 * math.log10(float((again - seen).square().mean()) / 4) > 21  # of chance 10
    grey = seen.mean(1, keepdim=True)
    assert (again - again.mean(1, keepdim=True) - seen + grey).square().mean() < 0.5 * (seen - grey).square().mean()
    assert latents.std((0, 2, 3, 4)) == pytest.approx(torch.ones(16), rel=0.8)


@pytest.mark.parametrize(("which", "wrong"), [("wan", (1, 2, 5, 16)), ("cosmos", (1, 5, 13, 16))])
def test_clips_that_it_does_not_read_whole_are_refused_before_anything_loads(which: str, wrong: tuple[int]) -> None:
    for num_frames in wrong:
        with pytest.raises(InputError, match=f"data: num_frames must be .* 9 at least, but is {num_frames}"):
            find(*RECIPES[which], [f"data.num_frames={num_frames}"])


@pytest.mark.parametrize("which", RECIPES)
def test_a_short_training_learns_and_ships(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family, name = RECIPES[which]
    line = (family, "post-train", "--experiment", name, "--device", "cpu", "--output-root", str(tmp_path))
    changes = ("trainer.max_iter=9", "schedule.warm_up_steps=[2]", "data.width=32", "data.height=32")
    result = run_cosmos(*line, "--", *changes, "data.num_mock_clips=2")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "posttraining/tiny" / name
    losses = [
        float(line.split('"loss": ')[1].split(",")[0]) for line in (folder / "metrics.jsonl").open() if "loss" in line
    ]
    assert sum(losses[-3:]) < sum(losses[:3])

    monkeypatch.setattr(shipping, "_CLIPS", 5)
    monkeypatch.setattr(shipping, "_FRAMES", 17)
    export = folder / "checkpoints/iter_000000009_reg_model.pt"
    video = clips(1, 3, 17, 32, 48)
    if which == "wan":
        shipping.ship_wan_tokenizer(export, tmp_path / "tokenizer.pth")
        shipped = load_network(BUILD[which], tmp_path / "tokenizer.pth", dtype=torch.float32, device=CPU)
    else:
        shipping.ship_cosmos_tokenizer(export, tmp_path / "tokenizer")
        shipped = load_chunked_tokenizer(
            tmp_path / "tokenizer", config=TINY_COSMOS_TOKENIZER, chunk_frames=17, sigma_data=1.0, dtype=torch.float32
        )
    trained = load_network(BUILD[which], export, naming=PUBLISHED, dtype=torch.float32, device=CPU)
    # the same pictures come back, but for the rounding of the file
    difference = shipped.decode(shipped.encode(video)) - trained.decode(trained.encode(video))
    assert float(difference.square().mean()) < 1e-3
    latents = torch.cat([each.transpose(0, 1).flatten(1) for each in shipping._latents(shipped.encode)], dim=1)
    assert float(latents.mean(1).abs().max()) < 0.1
    assert float(latents.std(1).log().abs().max()) < math.log(1.3)


def test_pieces_are_cut_by_chance_and_show_controls_where_these_are_asked_for() -> None:
    recipe = find("transfer", "tiny_cosmos_tokenizer")
    pieces = open_dataset(recipe)
    shape = (recipe.data.num_frames, recipe.data.height, recipe.data.width, 3)
    for index in range(4):
        piece = pieces.example(index, generator_of(0)).frames_FHWC
        assert piece.shape == shape
        assert torch.equal(piece, pieces.example(index, generator_of(0)).frames_FHWC)
        assert not torch.equal(piece, pieces.example(index, generator_of(5)).frames_FHWC)
    few_colours = [
        len(pieces.example(3, generator_of(chance)).frames_FHWC.flatten(0, 2).unique(dim=0)) <= 5 for chance in range(8)
    ]
    assert any(few_colours)
    assert not all(few_colours)
    plain = open_dataset(find("transfer", "tiny_cosmos_tokenizer", ["data.hint="]))
    assert len(plain.example(3, generator_of(0)).frames_FHWC.flatten(0, 2).unique(dim=0)) > 100
