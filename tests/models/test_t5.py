from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, T5EncoderModel

from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.cache import Cache
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.t5 import NUM_TOKENS, CachedTextEncoder, T5TextEncoder, check_encoder, fingerprint

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small T5 in the published layout, to be damaged."""
    return Path(shutil.copytree(TINY_ROOT / "google-t5" / "t5-tiny", tmp_path / "t5"))


def cached(folder: Path, cache: Path, loads: list[int], **options: object) -> CachedTextEncoder:
    settings: dict = {"dtype": torch.float32, "device": CPU, "on_load": lambda: loads.append(1), **options}
    return CachedTextEncoder(folder, Cache(cache, "embeddings", limit_bytes=1 << 30), **settings)


def test_an_embedding_is_that_of_the_unpadded_text_and_zero_behind_it(folder: Path) -> None:
    context, num_tokens = T5TextEncoder(folder, dtype=torch.float32, device=CPU).encode("The bus drives off.")
    tokens = AutoTokenizer.from_pretrained(folder)("The bus drives off.", return_tensors="pt")["input_ids"]
    plain = T5EncoderModel.from_pretrained(folder, dtype=torch.float32).eval()(input_ids=tokens).last_hidden_state
    assert num_tokens == tokens.shape[1]
    assert context.shape == (1, NUM_TOKENS, 128)
    torch.testing.assert_close(context[:, :num_tokens], plain, atol=1e-5, rtol=1e-5)
    assert not context[:, num_tokens:].any()


def test_a_long_text_is_cut_and_its_true_length_told(folder: Path) -> None:
    context, num_tokens = T5TextEncoder(folder, dtype=torch.bfloat16, device=CPU).encode("word " * 400)
    assert num_tokens > NUM_TOKENS
    assert context.dtype == torch.bfloat16
    assert context[0, -1].any()


def test_weights_in_the_published_pickle_format_are_the_same_encoder(folder: Path) -> None:
    text = "A harbour at dusk."
    expected, _ = T5TextEncoder(folder, dtype=torch.float32, device=CPU).encode(text)
    weights = load_file(folder / "model.safetensors")
    weights |= {"decoder.final_layer_norm.weight": torch.ones(128), "lm_head.weight": torch.ones(97, 128)}
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    context, _ = T5TextEncoder(folder, dtype=torch.float32, device=CPU).encode(text)
    torch.testing.assert_close(context, expected, atol=0, rtol=0)


def test_the_cache_returns_what_was_computed_and_spares_the_encoder(folder: Path, tmp_path: Path) -> None:
    loads: list[int] = []
    first = cached(folder, tmp_path / "cache", loads).encode("A harbour at dusk.")
    again = cached(folder, tmp_path / "cache", loads).encode("A harbour at dusk.")
    assert loads == [1]
    torch.testing.assert_close(first[0], again[0], atol=0, rtol=0)
    assert first[1] == again[1]


def test_another_text_model_or_precision_is_another_entry(folder: Path, tmp_path: Path) -> None:
    loads: list[int] = []
    one = cached(folder, tmp_path / "cache", loads).encode("a")[0]
    cached(folder, tmp_path / "cache", loads).encode("b")
    cached(folder, tmp_path / "cache", loads, dtype=torch.bfloat16).encode("a")
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor * 0.5 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    other = cached(folder, tmp_path / "cache", loads).encode("a")[0]
    assert loads == [1, 1, 1, 1]
    assert not torch.allclose(one, other)


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not an embedding",
        lambda data: data[:-8],
        lambda data: data + b"x",
        *(lambda data, place=place: flipped(data, place) for place in (0, 20, len("cosmos-cache 1\n") + 32, -1)),
    ],
)
def test_a_damaged_cache_entry_is_computed_again(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    loads: list[int] = []
    expected, _ = cached(folder, tmp_path / "cache", loads).encode("a")
    [entry] = (tmp_path / "cache" / "embeddings").iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    context, _ = cached(folder, tmp_path / "cache", loads).encode("a")
    torch.testing.assert_close(context, expected, atol=0, rtol=0)
    assert loads == [1, 1]


def test_a_copied_folder_is_the_same_encoder_and_a_changed_one_is_not(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert fingerprint(copy) == fingerprint(folder)
    (copy / "config.json").write_text((copy / "config.json").read_text().replace("relu", "gelu"))
    assert fingerprint(copy) != fingerprint(folder)


def test_the_weights_may_lie_in_a_folder_of_their_own(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (alone / "text_encoder").mkdir(parents=True)
    for path in folder.iterdir():
        shutil.copy(path, alone / "text_encoder" if path.suffix == ".safetensors" else alone)
    shutil.copy(folder / "config.json", alone / "text_encoder")
    encode = [T5TextEncoder(place, dtype=torch.float32, device=torch.device("cpu")).encode for place in (folder, alone)]
    torch.testing.assert_close(encode[0]("A street.")[0], encode[1]("A street.")[0], atol=0, rtol=0)
    assert fingerprint(folder) != fingerprint(alone)
    before = fingerprint(alone)
    (alone / "text_encoder" / "config.json").write_text("{}")
    assert fingerprint(alone) != before


def published(folder: Path, place: Path, *, in_shards: bool) -> Path:
    """Both published forms in one folder: Google's whole model as a float32 pickle, and NVIDIA's bfloat16 encoder.

    Google's configuration names no precision and its pickle is of the format before torch 1.6; the weights lie beside
    a decoder, and the tokenizer has no settings of its own. NVIDIA's encoder is in shards.
    """
    (place / "text_encoder").mkdir(parents=True)
    settings = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    of_encoder = {
        **settings,
        "dtype": "bfloat16",
        "_name_or_path": "google-t5/t5-11b",
        "transformers_version": "4.47.0",
    }
    (place / "text_encoder" / "config.json").write_text(json.dumps(of_encoder))
    shutil.copy(folder / "tokenizer.json", place)
    names = [f"model-{i}-of-00002.safetensors" for i in ("00001", "00002")]
    places = {key: names[i % 2] for i, key in enumerate(weights)}
    for name in names:
        shard = {key: tensor for key, tensor in weights.items() if places[key] == name}
        save_file(shard, place / "text_encoder" / name, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (place / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))

    del settings["dtype"], settings["architectures"], settings["transformers_version"]
    settings |= {"is_encoder_decoder": True, "n_positions": 512, "decoder_start_token_id": 0, "output_past": True}
    settings |= {"task_specific_params": {"summarization": {"prefix": "summarize: "}}}
    (place / "config.json").write_text(json.dumps(settings))
    # exact in float32 and not in bfloat16, so that the two can be told apart
    whole = {key: tensor.float() * 1.001 for key, tensor in weights.items()}
    whole |= {"decoder.final_layer_norm.weight": torch.ones(128), "lm_head.weight": whole["shared.weight"]}
    stray = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    whole |= {"encoder.embed_tokens.weight": whole["shared.weight"], stray: torch.ones(32, 4)}
    if in_shards:
        shards = {key: f"pytorch_model-0000{i % 2 + 1}-of-00002.bin" for i, key in enumerate(whole)}
        for name in set(shards.values()):
            torch.save({key: whole[key] for key in whole if shards[key] == name}, place / name)
        index = {"metadata": {}, "weight_map": shards}
        (place / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save(whole, place / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return place


@pytest.mark.parametrize("in_shards", [False, True])
def test_both_published_forms_are_read_and_kept_apart(folder: Path, tmp_path: Path, in_shards: bool) -> None:
    place = published(folder, tmp_path / "t5-11b", in_shards=in_shards)
    text, loads = "a red ball slides left", []
    options = {"bf16": cached(place, tmp_path / "cache", loads, form="bf16")}
    options |= {form: cached(place, tmp_path / "cache", loads, form=form) for form in ("fp32", "auto")}
    assert {form: encoder.document()["stored_in"] for form, encoder in options.items()} == {
        "bf16": "bfloat16", "fp32": "float32", "auto": "float32",
    }  # fmt: skip
    contexts = {form: encoder.encode(text)[0] for form, encoder in options.items()}
    assert len(loads) == 2  # "auto" is found in the cache
    torch.testing.assert_close(contexts["auto"], contexts["fp32"], atol=0, rtol=0)
    assert not torch.equal(contexts["bf16"], contexts["fp32"])
    torch.testing.assert_close(contexts["bf16"], contexts["fp32"], atol=0.1, rtol=0.1)
    # the tokenizer is the same without settings of its own, and the weights are those of the folder that has them
    expected, num_tokens = T5TextEncoder(folder, dtype=torch.float32, device=CPU).encode(text)
    torch.testing.assert_close(contexts["bf16"], expected, atol=0, rtol=0)
    assert options["bf16"].encode(text)[1] == num_tokens


def test_what_comes_into_the_folder_later_leaves_the_cache_of_the_other_form_alone(
    folder: Path, tmp_path: Path
) -> None:
    place = published(folder, tmp_path / "t5-11b", in_shards=False)
    whole = (place / "pytorch_model.bin").read_bytes()
    (place / "pytorch_model.bin").unlink()
    (place / ".pytorch_model.bin.0123456789ab.part").write_bytes(whole[:1000])
    loads: list[int] = []
    one = cached(place, tmp_path / "cache", loads).encode("a")[0]
    (place / "pytorch_model.bin").write_bytes(whole)
    (place / "tf_model.h5").write_bytes(b"not read by anybody")
    again = cached(place, tmp_path / "cache", loads, form="bf16").encode("a")[0]
    assert loads == [1]
    torch.testing.assert_close(one, again, atol=0, rtol=0)


def test_safetensors_of_another_precision_do_not_hide_googles_file(folder: Path, tmp_path: Path) -> None:
    place = published(folder, tmp_path / "t5-11b", in_shards=False)
    shutil.copy(folder / "model.safetensors", place)
    loads: list[int] = []
    contexts = [cached(place, tmp_path / "cache", loads, form=form).encode("a")[0] for form in ("fp32", "bf16")]
    assert not torch.equal(*contexts)


@pytest.mark.parametrize(("form", "stored"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_a_form_that_is_not_there_is_named_with_what_is_and_how_to_get_it(
    folder: Path, tmp_path: Path, form: str, stored: str
) -> None:
    place = published(folder, tmp_path / "google-t5" / "t5-11b", in_shards=False)
    if form == "fp32":
        (place / "pytorch_model.bin").unlink()
    else:
        shutil.rmtree(place / "text_encoder")
    for open_it in (check_encoder, partial(T5TextEncoder, dtype=torch.float32, device=CPU)):
        with pytest.raises(CheckpointError) as caught:
            open_it(place, form=form)
        [problem] = caught.value.problems
        assert f"in {stored}; it holds " in problem.what
        assert f"--checkpoint-dir {tmp_path}, or leave out --text-encoder {form}." in str(problem.fix)


def test_the_command_for_a_form_names_the_working_folder_where_that_holds_the_checkpoints(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder, tmp_path / "google-t5" / "t5-11b", in_shards=False)
    (tmp_path / "google-t5" / "t5-11b" / "pytorch_model.bin").unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        check_encoder(Path("google-t5/t5-11b"), "fp32")
    assert "pytorch_model.bin --checkpoint-dir ., or leave out" in str(caught.value.problems[0].fix)


@pytest.mark.parametrize("damage", ["no weights", "no config", "truncated", "keys missing"])
def test_a_damaged_folder_is_a_checkpoint_error_that_names_it(folder: Path, damage: str) -> None:
    weights = folder / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        (folder / "config.json").unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        kept = load_file(weights)
        kept.pop("encoder.block.1.layer.1.DenseReluDense.wo.weight")
        save_file(kept, weights, {"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        T5TextEncoder(folder, dtype=torch.float32, device=CPU)
    assert caught.value.problems[0].where == str(folder)


def test_a_hostile_pickle_is_refused_and_nothing_runs(folder: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    (folder / "model.safetensors").unlink()
    torch.save({"shared.weight": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        T5TextEncoder(folder, dtype=torch.float32, device=CPU)
    assert not (tmp_path / "pwned").exists()


def test_an_embedding_in_tf32_is_not_taken_for_one_in_full(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_full = cached(folder, tmp_path / "cache", []).encode("A harbour at dusk.")
    computed: list[str] = []
    monkeypatch.setattr(CachedTextEncoder, "_compute", lambda self, text, identity: computed.append(text))
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for device, tf32 in ((CPU, True), (torch.device("cuda", 0), True), (torch.device("cuda", 0), False)):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            given = cached(folder, tmp_path / "cache", [], device=device).encode("A harbour at dusk.")
            assert (given is None) == (device.type == "cuda" and tf32)
            assert given is None or torch.equal(given[0], in_full[0])
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert len(computed) == 1
