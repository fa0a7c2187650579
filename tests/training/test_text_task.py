"""Training a text encoder: from captions to a folder that is used, whatever stops it in between."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cosmos_cli.models.t5 import T5TextEncoder
from cosmos_cli.models.tiny_text import tokenizer, write_trained
from cosmos_cli.models.tiny_words import pieces
from cosmos_cli.testing import CommandResult, run_cosmos
from cosmos_cli.training.data.examples import collate
from cosmos_cli.training.data.order import generator_of
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.draws import draw
from cosmos_cli.training.experiments import find
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Where
from cosmos_cli.training.text_task import TextLearner, TextTask, text_encoder
from cosmos_cli.worlds.captions import Captions, caption
from cosmos_cli.worlds.exact import Chance

NAME = "tiny_text_encoder"
FOLDER = Path("posttraining/tiny") / NAME / "checkpoints"
CPU = torch.device("cpu")


def post_train(root: Path, *changes: str) -> CommandResult:
    line = ("predict2", "post-train", "--experiment", NAME, "--device", "cpu", "--output-root", str(root))
    return run_cosmos(*line, "--", "data.batch_size=4", "checkpoint.save_iter=3", *changes)


def build(recipe: Recipe) -> TextTask:
    return text_encoder(recipe, Where(CPU, torch.float32, Path()))


def test_captions_are_numbered_as_the_tokenizer_numbers_them() -> None:
    captions, own = open_dataset(find("predict2", NAME)), tokenizer()
    for i in range(40):
        text = caption(Chance(0, i))
        said = [captions.example(i, generator_of(chance)).extras for chance in range(4)]
        ids = own(text)["input_ids"]
        ids = ids if len(ids) <= 48 else [*ids[:47], own.eos_token_id]
        as_it_stands = [one for one in said if torch.equal(one["said"], one["meant"])]
        assert all(one["said"][one["said"] != 0].tolist() == ids for one in as_it_stands)


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped_and_its_export_is_used(tmp_path: Path) -> None:
    for root, ends in (("whole", (6,)), ("parts", (3, 6))):
        for end in ends:
            result = post_train(tmp_path / root, f"trainer.max_iter={end}", "schedule.warm_up_steps=[1]")
            assert result.exit_code == 0, result.stderr
    whole, parts = (torch.load(tmp_path / root / FOLDER / "iter_000000006_ema_model.pt") for root in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], atol=0, rtol=0, msg=name)

    export = tmp_path / "whole" / FOLDER / "iter_000000006_ema_model.pt"
    write_trained(export, tmp_path / "t5")
    learner = TextLearner(128)
    learner.load_state_dict({name.removeprefix("net."): tensor for name, tensor in whole.items()})
    begun = build(find("predict2", NAME, [f"checkpoint.load_path={export}"]))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in begun.networks.state_dict().items())
    numbers = torch.tensor([tokenizer()("A red cube slides left.")["input_ids"]])
    expected = learner.bfloat16().encoder(input_ids=numbers).last_hidden_state
    found, count = T5TextEncoder(tmp_path / "t5", dtype=torch.bfloat16, device=CPU).encode("A red cube slides left.")
    torch.testing.assert_close(found[:, :count], expected, atol=0.05, rtol=0.05)


def test_it_learns() -> None:
    recipe = find("predict2", NAME)
    own = build(recipe)
    captions = Captions(recipe)
    batch = own.encode(collate([captions.example(i, generator_of(i)) for i in range(16)]))
    optimizer = torch.optim.Adam([each for each in own.networks.parameters() if each.requires_grad], lr=3e-3)
    losses = []
    for step in range(25):
        draws = draw(recipe.draws, batch.latents_BCTHW.shape[1:], seed=0, step=step, places=range(16))
        loss = own.loss(batch, draws)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    for name in ("piece", "before", "behind"):
        assert losses[-1].parts[name] < 0.6 * losses[0].parts[name], name
    assert losses[-1].parts["accuracy"] > 0.15


def test_what_a_text_teaches_does_not_depend_on_the_texts_beside_it() -> None:
    recipe = find("predict2", NAME)
    own = build(recipe)
    captions = Captions(recipe)
    examples = [captions.example(i, generator_of(i)) for i in range(3)]
    shape = (1, recipe.data.text_tokens, 2, 2)

    def loss(*places: int) -> float:
        batch = own.encode(collate([examples[i] for i in places]))
        return float(own.loss(batch, draw(recipe.draws, shape, seed=0, step=0, places=places)).parts["behind"])

    stop = list(pieces()).index(".")
    meant = [one.extras["meant"] for one in examples]
    # all places but the last of each sentence, and the end
    counts = [int((numbers_L != 0).sum() - (numbers_L == stop).sum() - 1) for numbers_L in meant]
    assert len({int((numbers_L != 0).sum()) for numbers_L in meant}) == 3
    alone = sum(count * loss(i) for i, count in enumerate(counts)) / sum(counts)
    assert loss(0, 1, 2) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("change", ["log.sample_iter=2", "data.source=cosmos_cli.training.data.mock:MockClips"])
def test_it_makes_no_videos_and_learns_from_none(tmp_path: Path, change: str) -> None:
    result = post_train(tmp_path, change)
    assert result.exit_code == 2
    assert change.partition("=")[0] in result.stderr
    assert not (tmp_path / "posttraining").exists() or not list(tmp_path.rglob("*.pt"))
