from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers.integrations.mistral.tokenizer import MistralConverter

from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.generation import tiny_rewriter
from cosmos_cli.generation.upsampler import PromptUpsampler
from cosmos_cli.models.chat import HttpChatModel, LocalChatModel, Message
from cosmos_cli.models.pixtral import CONTROL_TOKENS, load_pixtral, load_tekken
from cosmos_cli.runtime.memory.residence import PARKED, RESIDENT, Residence
from cosmos_plugins.transfer1 import inputs, needs
from cosmos_plugins.transfer1.checkpoints import UPSAMPLER, choose_control, upsampler_folder
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.upsampler import upsampler as of_transfer
from tests.chat_models import chat_server, says
from tests.clips import moving_gradient
from tests.pixtral import NUM_CONTROL, PARAMS, VISION, WORDS, build_pixtral
from tests.plugins.transfer1.budgets import budget_after

CPU = torch.device("cpu")


@pytest.fixture
def pixtral(tmp_path: Path) -> Path:
    return build_pixtral(tmp_path / "checkpoints" / UPSAMPLER.name)


class Mistral:
    """Pixtral as Mistral defines it, in float64: neighbouring values of a head are one complex number, and rotate."""

    def __init__(self, folder: Path) -> None:
        self.weights = {
            name: tensor.double() for name, tensor in load_file(folder / "consolidated.safetensors").items()
        }

    def logits(self, tokens: list[int], images: list[Tensor]) -> Tensor:
        hidden = self.weights["tok_embeddings.weight"][tokens]
        hidden[torch.tensor(tokens) == VISION["image_token_id"]] = torch.cat([self.see(image) for image in images])
        angles = torch.outer(torch.arange(len(tokens)).double(), frequencies(PARAMS["rope_theta"], 8))
        future = torch.full((len(tokens), len(tokens)), -torch.inf).triu(1).double()
        for i in range(2):
            hidden = self.block(f"layers.{i}", hidden, angles, head_dim=8, mask=future)
        return self.norm("norm", hidden) @ self.weights["output.weight"].T

    def see(self, image_CHW: Tensor) -> Tensor:
        patches = F.conv2d(image_CHW[None].double(), self.weights["vision_encoder.patch_conv.weight"], stride=8)[0]
        rows, columns = torch.meshgrid(*(torch.arange(n).double() for n in patches.shape[1:]), indexing="ij")
        bands = frequencies(VISION["rope_theta"], 16)
        angles = torch.cat(
            [torch.outer(rows.flatten(), bands[0::2]), torch.outer(columns.flatten(), bands[1::2])], dim=-1
        )
        hidden = self.norm("vision_encoder.ln_pre", patches.flatten(1).T)
        for i in range(2):
            hidden = self.block(f"vision_encoder.transformer.layers.{i}", hidden, angles, head_dim=16, mask=None)
        hidden = F.gelu(F.linear(hidden, *self.both("vision_language_adapter.w_in")))
        return F.linear(hidden, *self.both("vision_language_adapter.w_out"))

    def block(self, name: str, hidden: Tensor, angles: Tensor, *, head_dim: int, mask: Tensor | None) -> Tensor:
        normed = self.norm(f"{name}.attention_norm", hidden)
        q, k, v = (
            (normed @ self.weights[f"{name}.attention.{w}.weight"].T).unflatten(-1, (-1, head_dim)).transpose(0, 1)
            for w in ("wq", "wk", "wv")
        )
        q, k = rotate(q, angles), rotate(k, angles)
        k, v = (x.repeat_interleave(len(q) // len(x), dim=0) for x in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1).flatten(1)
        hidden = hidden + mixed @ self.weights[f"{name}.attention.wo.weight"].T
        normed = self.norm(f"{name}.ffn_norm", hidden)
        w1, w2, w3 = (self.weights[f"{name}.feed_forward.{w}.weight"] for w in ("w1", "w2", "w3"))
        return hidden + (F.silu(normed @ w1.T) * (normed @ w3.T)) @ w2.T

    def norm(self, name: str, hidden: Tensor) -> Tensor:
        return F.rms_norm(hidden, hidden.shape[-1:], self.weights[f"{name}.weight"], eps=1e-5)

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


def frequencies(theta: float, dim: int) -> Tensor:
    return theta ** -(torch.arange(0, dim, 2).double() / dim)


def rotate(heads: Tensor, angles: Tensor) -> Tensor:
    turned = torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.view_as_real(turned).flatten(-2)


FRAMES = moving_gradient(3, 20, 40)


def upsampler(
    root: Path, control: str, *, dtype: torch.dtype = torch.float32, offload: bool = False
) -> PromptUpsampler:
    """The model of a checkpoint folder for a modality, by itself."""
    return of_transfer(LocalChatModel(upsampler_folder(root, control), device=CPU, dtype=dtype, offload=offload))


def test_mistrals_own_files_give_the_logits_of_mistrals_own_definition(pixtral: Path) -> None:
    tokens = [1, 3, *[10, 10, 10, 12, 10, 10, 10, 13], *[10, 10, 13], 70, 90, 288, 4]
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(3, *size, generator=generator) for size in ((16, 24), (8, 16))]
    expected = Mistral(pixtral).logits(tokens, images)
    padded = torch.stack([images[0], F.pad(images[1], (0, 8, 0, 8))])
    model = load_pixtral(pixtral, dtype=torch.float32)
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([tokens]), pixel_values=padded, image_sizes=torch.tensor([[16, 24], [8, 16]])
        ).logits[0]
    torch.testing.assert_close(logits.double(), expected, atol=1e-4, rtol=0)
    assert expected.std() > 1


def test_the_model_is_whole_and_in_the_precision_asked_for(pixtral: Path) -> None:
    model = load_pixtral(pixtral, dtype=torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    # the tables of the rotary embeddings: bfloat16 could not tell late positions apart
    assert {(table.dtype, table.is_meta) for table in model.buffers()} == {(torch.float32, False)}


def test_the_files_may_be_bfloat16_and_say_more_than_is_read(pixtral: Path) -> None:
    expected = load_pixtral(pixtral, dtype=torch.bfloat16).state_dict()
    weights = load_file(pixtral / "consolidated.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in weights.items()}, pixtral / "consolidated.safetensors")
    more = {"image_break_token_id": 12, "image_end_token_id": 13, "max_image_size": 1024, "spatial_merge_size": 1}
    params = {**PARAMS, "max_seq_len": 4096, "tied_embeddings": False, "vision_encoder": {**VISION, **more}}
    (pixtral / "params.json").write_text(json.dumps(params))
    (pixtral / "README.md").write_text("not read")
    found = load_pixtral(pixtral, dtype=torch.bfloat16).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_tokenizer_merges_by_rank_as_the_published_one(pixtral: Path) -> None:
    tokenizer = load_tekken(pixtral)
    text = "the thebus, the bus äh 42\n a"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    at = {token: NUM_CONTROL + i for i, token in enumerate([bytes([i]) for i in range(256)] + WORDS)}
    assert ids[:4] == [at[b"the"], at[b" the"], at[b"bus"], at[b","]]
    assert at["ä".encode()] in ids
    assert tokenizer.decode(ids) == text
    prompt = "<s>[INST][IMG][IMG_BREAK][IMG_END]a[/INST]</s>"
    assert tokenizer(prompt, add_special_tokens=False)["input_ids"] == [1, 3, 10, 12, 13, at[b"a"], 4, 2]
    assert tokenizer.decode([1, 3, at[b"bus"], 4, 2], skip_special_tokens=True) == "bus"


def test_a_vocabulary_that_lists_its_control_tokens_is_read_as_transformers_reads_it(pixtral: Path) -> None:
    content = json.loads((pixtral / "tekken.json").read_text())
    content["special_tokens"] = [{"rank": i, "token_str": token} for i, token in enumerate(CONTROL_TOKENS)]
    (pixtral / "tekken.json").write_text(json.dumps(content))
    theirs = MistralConverter(str(pixtral / "tekken.json")).converted()
    ours = load_tekken(pixtral)
    for text in ("[INST]the bus[/INST]", "thehe thth", "¿ bus?\n\nthe  a"):
        assert ours(text, add_special_tokens=False)["input_ids"] == theirs.encode(text, add_special_tokens=False).ids


def test_the_upsampler_is_shown_the_first_two_frames_before_the_prompt(pixtral: Path) -> None:
    upsample = upsampler(pixtral.parents[1], "edge")
    first = upsample("a bus", FRAMES)
    assert first == upsample("a bus", FRAMES[:2]) == first.strip()
    assert first != upsample("a bus", FRAMES[1:])
    assert first != upsample("", FRAMES)


def test_two_pictures_and_a_prompt_are_written_as_mistral_writes_them(pixtral: Path) -> None:
    model = LocalChatModel(pixtral, device=CPU, dtype=torch.float32)
    inputs = model._inputs([Message("user", [*FRAMES[:2], "the bus"])])
    words = {word: NUM_CONTROL + 256 + i for i, word in enumerate(WORDS)}
    picture = [*[10] * 5, 12, *[10] * 5, 12, *[10] * 5, 13]
    assert inputs["input_ids"].tolist() == [[1, 3, *picture, *picture, words[b"the"], words[b" bus"], 4]]
    assert inputs["image_sizes"].tolist() == [[24, 40], [24, 40]]


def test_a_folder_in_the_layout_of_transformers_is_the_same_model(pixtral: Path, tmp_path: Path) -> None:
    copy = tmp_path / "transformers" / UPSAMPLER.name
    model, tokenizer = load_pixtral(pixtral, dtype=torch.float32), load_tekken(pixtral)
    model.save_pretrained(copy)
    tokenizer.save_pretrained(copy)
    one, other = upsampler(pixtral.parents[1], "vis", offload=True), upsampler(copy.parents[1], "vis", offload=True)
    assert one("a bus", FRAMES) == other("a bus", FRAMES)


def test_a_server_is_asked_as_the_original_asks() -> None:
    with chat_server(says("  A red bus drives off.\n")) as server:
        upsample = of_transfer(HttpChatModel(server.url, "pixtral"))
        assert upsample("", FRAMES) == "A red bus drives off."
    [request] = server.requests
    assert (request["temperature"], request["max_tokens"], request["model"]) == (0.6, 300, "pixtral")
    [message] = request["messages"]
    assert [entry["type"] for entry in message["content"]] == ["image_url", "image_url", "text"]
    assert message["content"][2]["text"] == "describe the following images"


@pytest.mark.parametrize(
    ("controls", "chosen"),
    [
        (["edge", "vis"], "vis"),
        (["seg", "edge"], "edge"),
        (["seg", "depth"], "seg"),
        (["depth", "seg"], "depth"),
        (["keypoint", "depth"], "depth"),
        (["hdmap", "lidar"], None),
        ([], None),
    ],
)
def test_the_control_to_show(controls: list[str], chosen: str | None) -> None:
    assert choose_control(controls) == chosen


def test_the_folder_itself_goes_before_the_one_for_a_modality(pixtral: Path) -> None:
    root = pixtral.parents[1]
    build_pixtral(pixtral / "viscontrol")
    assert upsampler_folder(root, "edge") == pixtral
    (pixtral / "params.json").unlink()
    assert upsampler_folder(root, "edge") == upsampler_folder(root, "vis") == pixtral / "viscontrol"
    with pytest.raises(CheckpointError, match="segmentation"):
        upsampler_folder(root, "seg")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no weights", "consolidated"),
        ("weight missing", "1 missing"),
        ("other sizes", "misshapen"),
        ("no sizes", "does not describe a Pixtral model"),
        ("sizes no JSON", "not JSON"),
        ("no vocabulary", "cannot be read: No such file"),
        ("vocabulary empty", "cannot be used as a vocabulary"),
    ],
)
def test_damaged_files_are_checkpoint_errors(pixtral: Path, damage: str, words: str) -> None:
    weights, params = pixtral / "consolidated.safetensors", pixtral / "params.json"
    if damage == "no weights":
        weights.unlink()
    elif damage == "weight missing":
        kept = load_file(weights)
        kept.pop("layers.1.attention.wo.weight")
        save_file(kept, weights)
    elif damage == "other sizes":
        params.write_text(json.dumps({**PARAMS, "hidden_dim": 44}))
    elif damage == "no sizes":
        params.write_text("{}")
    elif damage == "sizes no JSON":
        params.write_text("{")
    elif damage == "no vocabulary":
        (pixtral / "tekken.json").unlink()
    else:
        (pixtral / "tekken.json").write_text('{"config": {}, "vocab": []}')
    with pytest.raises(CheckpointError, match=words) as caught:
        LocalChatModel(pixtral, device=CPU, dtype=torch.float32)
    assert str(pixtral) in str(caught.value.problems[0].where)


def test_a_prompt_with_control_tokens_is_bad_input(pixtral: Path) -> None:
    with pytest.raises(InputError, match=r"\[/INST\]"):
        upsampler(pixtral.parents[1], "vis")("a bus[/INST]", FRAMES)


def test_a_rule_writes_a_sentence_for_the_tiny_model_and_the_sidecar_says_so(clip: Path) -> None:
    settings = TransferSettings(model_size="tiny", device="cpu", upsample_prompt=True)
    request = TransferRequest(
        controls={"edge": {"input_control": clip}},  # type: ignore[dict-item]
        input_video_path=clip,
        prompt="a bus",
        num_steps=1,
    )
    TransferPipeline.load(settings, [request])(request)
    sidecar = json.loads(Path("outputs/output.json").read_text())
    assert sidecar["prompt_used"] == "A bus."
    assert tiny_rewriter.says_so("prompt upsampler") in sidecar["result"]["not_run"]


def test_the_rule_writes_a_prompt_where_there_is_none_and_leaves_the_longest_alone() -> None:
    assert tiny_rewriter.as_sentence(" ", FRAMES) == tiny_rewriter.OF_NOTHING
    assert tiny_rewriter.as_sentence("a  red cube\nrolls!", FRAMES) == "A red cube rolls!"
    longest = "a" * 5000
    assert tiny_rewriter.as_sentence(longest, FRAMES) == "A" + longest[1:]


@pytest.mark.parametrize(
    ("steps", "offload", "residence"), [(0, False, RESIDENT), (0, True, PARKED), (1, False, PARKED), (2, False, PARKED)]
)
def test_its_weights_are_placed_with_those_of_the_video_model_and_change_no_word(
    pixtral: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    offload: bool,
    residence: Residence,
) -> None:
    root = pixtral.parents[1]
    num_bytes = sum(file.stat().st_size for file in pixtral.iterdir())
    # the tiny model has a rule in its place
    monkeypatch.setattr(inputs, "upsampler_bytes", lambda settings, controls: num_bytes)
    monkeypatch.setattr(needs, "upsamples_itself", lambda settings, controls: True)
    monkeypatch.setattr(needs, "upsamples_by_rule", lambda settings, controls: False)
    settings = TransferSettings(
        model_size="tiny",
        device="cpu",
        checkpoint_dir=root,
        upsample_prompt=True,
        offload_prompt_upsampler=offload,
    )
    request = TransferRequest(
        controls={"edge": {"input_control": clip}},  # type: ignore[dict-item]
        input_video_path=clip,
        prompt="a bus",
        num_steps=1,
        guidance=0,
    )
    if steps:
        settings = settings.model_copy(update={"max_memory": budget_after(steps, inputs, settings, request)})
    sample = inputs.read(settings, request)
    pipeline = TransferPipeline.load(settings, [request])
    plan = pipeline.stages.plan
    [stage] = [stage for stage in plan.stages if stage.name == "prompt refiner"]
    assert stage.weight_bytes == num_bytes
    assert plan["prompt refiner"] == residence
    worked: list[str] = []
    at_work = pipeline.stages.at_work

    def noticing(name: str) -> Any:
        worked.append(name)
        return at_work(name)

    monkeypatch.setattr(pipeline.stages, "at_work", noticing)
    generated = pipeline.make(sample)
    direct = upsampler(root, "edge", dtype=torch.bfloat16)
    assert generated.prompt == direct("a bus", sample.controls[0].frames_FHWC) != "a bus"
    assert worked == ["prompt refiner", "tokenizer", "diffusion transformer", "tokenizer"]
