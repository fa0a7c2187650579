"""A merged LoRA computes what peft computes with it, from every kind of file, and never merges by halves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.minimal_dit import MinimalDiT

CONFIG = MinimalDiTConfig(
    model_channels=48,
    num_blocks=2,
    num_heads=2,
    crossattn_emb_channels=24,
    adaln_lora_dim=8,
    max_img_h=16,
    max_img_w=16,
    max_frames=8,
)
TARGETS = ["q_proj", "k_proj", "v_proj", "output_proj", "mlp.layer1", "mlp.layer2"]
NUM_LAYERS = 2 * 10
"""Four projections of two attentions, and two of the MLP, in each block."""

Adapter = dict[str, Tensor]


@pytest.fixture
def network() -> MinimalDiT:
    torch.manual_seed(0)
    network = MinimalDiT(CONFIG).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.requires_grad_(False)


def copy_of(network: MinimalDiT) -> MinimalDiT:
    copy = MinimalDiT(CONFIG).eval()
    copy.load_state_dict(network.state_dict())
    return copy.requires_grad_(False)


def velocity(network: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, text = torch.randn(1, 16, 2, 6, 8, generator=generator), torch.randn(1, 5, 24, generator=generator)
    y: Tensor = network(x, torch.tensor([[0.3, 0.6]]), text)
    return y


def adapter_of(network: MinimalDiT, rank: int = 4) -> Adapter:
    """Random halves for two layers, under the network's own names."""
    adapter: Adapter = {}
    generator = torch.Generator().manual_seed(2)
    for layer in ("blocks.0.self_attn.q_proj", "blocks.1.mlp.layer2"):
        n_out, n_in = network.get_submodule(layer).weight.shape  # type: ignore[misc]
        adapter[f"{layer}.lora_A.weight"] = torch.randn(rank, n_in, generator=generator)
        adapter[f"{layer}.lora_B.weight"] = torch.randn(n_out, rank, generator=generator)
    return adapter


def merged_by_hand(network: MinimalDiT, adapter: Adapter, scale: float) -> dict[str, Tensor]:
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    for key in adapter:
        if key.endswith("lora_A.weight"):
            layer = key.removesuffix(".lora_A.weight")
            delta = adapter[f"{layer}.lora_B.weight"].double() @ adapter[key].double()
            weight = weights[f"{layer}.weight"]
            weights[f"{layer}.weight"] = (weight.double() + scale * delta).to(weight.dtype)
    return weights


def assert_weights(network: MinimalDiT, expected: dict[str, Tensor]) -> None:
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-5, msg=f"{name} differs")


def save(adapter: Adapter, path: Path, prefix: str = "", **config: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{prefix}{key}": tensor for key, tensor in adapter.items()}, path)
    if config:
        (path.parent / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | config))
    return path


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"alpha_pattern": {"mlp.layer1": 2}}])
def test_a_trained_adapter_merges_as_in_peft(network: MinimalDiT, tmp_path: Path, options: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    base = copy_of(network)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=TARGETS, rank_pattern={"mlp.layer2": 2}, modules_to_save=["linear"], **options
    )
    student = peft.get_peft_model(copy_of(network), config)
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=0.02)
    for _ in range(3):
        velocity(student).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    student.save_pretrained(tmp_path)

    assert merge_lora(network, tmp_path) == NUM_LAYERS
    with torch.inference_mode():
        ours, base_y = velocity(network), velocity(base)
        torch.testing.assert_close(ours, velocity(student.eval()), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours, velocity(student.merge_and_unload()), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, base_y, atol=1e-2)
    assert output.notices() == []


PREFIXES = ["", "net.", "base_model.model.", "pipe.dit.", "base_model.model.net.", "module.net."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_single_file_under_any_prefix_merges_as_by_hand(network: MinimalDiT, tmp_path: Path, prefix: str) -> None:
    adapter = adapter_of(network)
    expected = merged_by_hand(network, adapter, scale=6 / 4)
    named = {key.replace(".weight", ".default.weight"): tensor for key, tensor in adapter.items()}
    path = tmp_path / "lora.pt"
    torch.save({"model": {f"{prefix}{key}": tensor for key, tensor in named.items()}}, path)
    assert merge_lora(network, path, alpha=6) == 2
    assert_weights(network, expected)


def test_without_an_alpha_the_scale_is_one_and_it_is_said(network: MinimalDiT, tmp_path: Path) -> None:
    adapter = adapter_of(network)
    expected = merged_by_hand(network, adapter, scale=1.0)
    merge_lora(network, save(adapter, tmp_path / "style.safetensors"))
    assert_weights(network, expected)
    assert output.notices() == ["style.safetensors does not say its LoRA's alpha: taken as its rank, 4"]


@pytest.mark.parametrize(("alpha", "scale"), [(None, 8 / 4), (2, 2 / 4)])
def test_a_configuration_beside_the_file_counts_unless_an_alpha_is_given(
    network: MinimalDiT, tmp_path: Path, alpha: float | None, scale: float
) -> None:
    adapter = adapter_of(network)
    expected = merged_by_hand(network, adapter, scale)
    path = save(adapter, tmp_path / "adapter_model.safetensors", "base_model.model.", lora_alpha=8)
    merge_lora(network, path, alpha=alpha)
    assert_weights(network, expected)


def as_file(weights: Adapter, folder: Path) -> Path:
    torch.save(weights, folder / "iter_000000100.pt")
    return folder / "iter_000000100.pt"


def as_distributed(weights: Adapter, folder: Path) -> Path:
    dcp.save(weights, checkpoint_id=folder / "iter_000000100" / "model", no_dist=True)
    return folder / "iter_000000100"


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("write", [as_file, as_distributed])
@pytest.mark.parametrize("ema", [False, True])
def test_a_training_checkpoint_brings_its_own_network_and_either_set(
    network: MinimalDiT, tmp_path: Path, write: Callable[[Adapter, Path], Path], ema: bool
) -> None:
    sets = {"net.": adapter_of(network), "net_ema.": {k: t / 2 for k, t in adapter_of(network).items()}}
    layers = {key.partition(".lora_")[0] for key in sets["net."]}
    weights: Adapter = {"net.accum_iteration": torch.tensor(100), "net.pos_embedder.seq": torch.arange(8.0)}
    for prefix, adapter in sets.items():
        for name, weight in network.state_dict().items():
            layer = name.removesuffix(".weight")
            weights[f"{prefix}{layer}{'.base_layer' if layer in layers else ''}.weight"] = weight
        weights |= {f"{prefix}{key.replace('.weight', '.default.weight')}": t for key, t in adapter.items()}
    path = write(weights, tmp_path)
    expected = merged_by_hand(network, sets["net_ema." if ema else "net."], scale=2.0)

    other = MinimalDiT(CONFIG)  # not the network that the LoRA was trained on
    assert merge_lora(other, path, alpha=8, ema=ema) == 2
    assert_weights(other, expected)
    with pytest.raises(CheckpointError, match=r"holds a LoRA.*--lora-path"):
        load_network(lambda: MinimalDiT(CONFIG), path, naming=PUBLISHED)


def test_what_stands_beside_the_network_that_the_lora_was_trained_on_is_left_alone(
    network: MinimalDiT, tmp_path: Path
) -> None:
    adapter = adapter_of(network)
    expected = merged_by_hand(network, adapter, scale=1.0)
    beside = {"conditioner.text.weight": torch.ones(2), "logvar.0.freqs": torch.ones(2), "critic.head": torch.ones(2)}
    torch.save({f"net._orig_mod.{key}": tensor for key, tensor in adapter.items()} | beside, tmp_path / "lora.pt")
    assert merge_lora(network, tmp_path / "lora.pt", alpha=4) == 2
    assert_weights(network, expected)
    assert output.notices() == [
        "lora.pt: keys outside of MinimalDiT are ignored, 1 of them: critic.head",
    ]
    torch.save(
        {f"net.{key}": t for key, t in adapter.items()} | {"net.crossattn_proj.0.bias": torch.ones(2)},
        path := tmp_path / "other.pt",
    )
    with pytest.raises(CheckpointError, match=r"1 belong to nothing in MinimalDiT:\n  net.crossattn_proj.0.bias"):
        merge_lora(network, path, alpha=4)


def test_the_averaged_lora_is_also_taken_out_of_its_wrapper(network: MinimalDiT, tmp_path: Path) -> None:
    adapter = adapter_of(network)
    expected = merged_by_hand(network, {k: t * 2 for k, t in adapter.items()}, scale=1.0)
    content = {
        "model": {f"net.{key}": tensor for key, tensor in adapter.items()},
        "ema": {f"net.{key}".replace(".", "-"): tensor * 2 for key, tensor in adapter.items()},
    }
    torch.save(content, tmp_path / "lora.pt")
    merge_lora(network, tmp_path / "lora.pt", alpha=4, ema=True)
    assert_weights(network, expected)


def test_the_sum_is_rounded_once_and_the_file_of_the_network_is_left_alone(network: MinimalDiT, tmp_path: Path) -> None:
    adapter = adapter_of(network)
    torch.save(network.bfloat16().state_dict(), tmp_path / "model.pt")
    before = (tmp_path / "model.pt").read_bytes()
    loaded = load_network(lambda: MinimalDiT(CONFIG), tmp_path / "model.pt")
    merge_lora(loaded, save(adapter, tmp_path / "lora.safetensors"), alpha=0.1)

    name = "blocks.0.self_attn.q_proj"
    a, b = adapter[f"{name}.lora_A.weight"], adapter[f"{name}.lora_B.weight"]
    weight, merged = network.get_parameter(f"{name}.weight"), loaded.get_parameter(f"{name}.weight")
    exact = (weight.double() + 0.1 / 4 * b.double() @ a.double()).bfloat16()
    assert merged.dtype == torch.bfloat16
    assert not merged.requires_grad
    # sums that lie almost on the border between two neighbours may go either way
    assert (merged != exact).float().mean() < 1e-3
    assert (tmp_path / "model.pt").read_bytes() == before


def spoil(adapter: Adapter, change: str) -> Adapter:
    layer = "blocks.0.self_attn.q_proj"
    if change == "other half":
        del adapter[f"{layer}.lora_B.weight"]
    elif change == "rank":
        adapter[f"{layer}.lora_A.weight"] = torch.zeros(3, 48)
    elif change == "width":
        adapter[f"{layer}.lora_A.weight"] = torch.zeros(4, 47)
    elif change == "rank 0":
        adapter |= {f"{layer}.lora_A.weight": torch.zeros(0, 48), f"{layer}.lora_B.weight": torch.zeros(48, 0)}
    elif change == "unknown layer":
        adapter["blocks.7.self_attn.q_proj.lora_A.weight"] = torch.zeros(4, 48)
    elif change == "dora":
        adapter[f"{layer}.lora_magnitude_vector"] = torch.zeros(48)
    elif change == "whole weight":
        adapter["final_layer.linear.weight"] = torch.zeros(2, 2)
    elif change == "two adapters":
        adapter["blocks.1.self_attn.q_proj.lora_A.second.weight"] = torch.zeros(4, 48)
        adapter["blocks.1.self_attn.q_proj.lora_B.first.weight"] = torch.zeros(48, 4)
    elif change == "twice":
        adapter[f"net.{layer}.lora_A.weight"] = torch.zeros(4, 48)
    elif change == "whole numbers":
        adapter[f"{layer}.lora_A.weight"] = torch.ones(4, 48, dtype=torch.int64)
    elif change == "complex":
        adapter["final_layer.linear.weight"] = torch.zeros(64, 48, dtype=torch.complex64)
    elif change == "no axis":
        adapter[f"{layer}.lora_A.weight"] = torch.tensor(1.0)
    return adapter


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("other half", r"without the other half of the pair:\n  blocks.0.self_attn.q_proj.lora_A.weight"),
        ("rank", r"lora_A.weight: \[3, 48\] and B \[48, 4\], for a weight of \[48, 48\]"),
        ("width", r"lora_A.weight: \[4, 47\] and B \[48, 4\]"),
        ("rank 0", r"lora_A.weight: \[0, 48\] and B \[48, 0\]"),
        ("unknown layer", r"1 belong to nothing in MinimalDiT:\n  blocks.7.self_attn.q_proj.lora_A.weight"),
        ("dora", r"belong to nothing in MinimalDiT:\n  blocks.0.self_attn.q_proj.lora_magnitude_vector"),
        ("whole weight", r"final_layer.linear.weight: \[2, 2\], should be \[64, 48\]"),
        ("two adapters", "more than one adapter: first, second"),
        ("twice", r"1 given twice:\n  blocks.0.self_attn.q_proj.lora_A.weight and net"),
        ("whole numbers", r"1 of another type:\n  blocks.0.self_attn.q_proj.lora_A.weight: int64, should be floats"),
        ("complex", r"final_layer.linear.weight: complex64, should be floats"),
        ("no axis", r"lora_A.weight: \[\] and B \[48, 4\]"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_merged(
    network: MinimalDiT, tmp_path: Path, change: str, message: str
) -> None:
    before = copy_of(network).state_dict()
    path = save(spoil(adapter_of(network), change), tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=message):
        merge_lora(network, path, alpha=4)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_lora_of_another_network_and_a_file_without_one_are_refused(network: MinimalDiT, tmp_path: Path) -> None:
    foreign = {
        key.replace("self_attn.q_proj", "attn1.to_q").replace("mlp", "ff"): t for key, t in adapter_of(network).items()
    }
    with pytest.raises(CheckpointError, match=r"holds no LoRA for MinimalDiT(.|\n)*4 belong to nothing"):
        merge_lora(network, save(foreign, tmp_path / "foreign.safetensors"))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds no LoRA for MinimalDiT"):
        merge_lora(network, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds no LoRA"):
        merge_lora(network, save(adapter_of(network), tmp_path / "lora.safetensors"), ema=True)
    with pytest.raises(CheckpointError, match="missing"):
        merge_lora(network, tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "not of a plain LoRA: use_dora is on"),
        ({"peft_type": "LOHA"}, "its peft_type is LOHA"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4 has changed the network below it"),
        ({"lora_alpha": float("nan")}, "NaN is not a number there"),
        ({"lora_alpha": "much"}, "'much' is not an alpha"),
        ({"lora_alpha": 10**400}, "adapter_config.json"),
        ({"lora_alpha": 1e308}, r"no usable strength:\n  .*2.5e\+307, and at most 10000 can be meant"),
        ({"alpha_pattern": {"q_proj": -1e6}}, r"no usable strength:\n  .*-250000"),
        ({"alpha_pattern": {"nowhere": 2}}, r"alphas in adapter_config.json for layers that have no LoRA:\n  nowhere"),
    ],
)
def test_adapters_that_are_no_plain_lora_and_bad_configurations_are_refused(
    network: MinimalDiT, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    save(adapter_of(network), tmp_path / "adapter_model.safetensors", lora_alpha=4)
    entries = {"peft_type": "LORA", "lora_alpha": 4, "init_lora_weights": True} | config
    (tmp_path / "adapter_config.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match=message):
        merge_lora(network, tmp_path)


def test_a_folder_must_hold_the_weights_and_readable_json(network: MinimalDiT, tmp_path: Path) -> None:
    path = save(adapter_of(network), tmp_path / "adapter_model.safetensors", lora_alpha=4)
    (tmp_path / "adapter_config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"adapter_config.json cannot be used: it holds a list"):
        merge_lora(network, tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has adapter_config.json, but not adapter_model.safetensors"):
        merge_lora(network, tmp_path)


def test_merging_an_adapter_and_its_negative_gives_the_network_back(network: MinimalDiT, tmp_path: Path) -> None:
    before = copy_of(network).state_dict()
    path = save(adapter_of(network), tmp_path / "lora.safetensors")
    negative = {k: -t if ".lora_B." in k else t for k, t in load_file(path).items()}
    merge_lora(network, path, alpha=4)
    merge_lora(network, save(negative, tmp_path / "negative.safetensors"), alpha=4)
    assert_weights(network, before)
