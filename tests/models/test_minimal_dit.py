"""The minimal DiT against the original's golden data, and against itself where no golden data reaches."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from cosmos_cli.models.configs import MinimalDiTConfig, NeighborhoodConfig
from cosmos_cli.models.minimal_dit import MinimalDiT, stored_constants
from cosmos_cli.models.rope import RotaryTable

GOLDEN = Path(__file__).parent.parent / "golden"

FULL_SIZE = {
    "2b": MinimalDiTConfig(
        model_channels=2048,
        num_blocks=28,
        num_heads=16,
        rope_h_extrapolation_ratio=3.0,
        rope_w_extrapolation_ratio=3.0,
    ),
    "14b": MinimalDiTConfig(
        model_channels=5120,
        num_blocks=36,
        num_heads=40,
        rope_h_extrapolation_ratio=2.0,
        rope_w_extrapolation_ratio=2.0,
        rope_t_extrapolation_ratio=20 / 24,
    ),
}
TINY = MinimalDiTConfig(
    model_channels=48,
    num_blocks=2,
    num_heads=2,
    crossattn_emb_channels=24,
    adaln_lora_dim=8,
    max_img_h=16,
    max_img_w=16,
    max_frames=8,
)


class Golden(NamedTuple):
    config: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    net: MinimalDiT


def load_golden(case: str) -> Golden:
    with safe_open(GOLDEN / "predict2" / f"{case}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {part: {} for part in ("weights", "in", "out")}
        for key in file.keys():  # noqa: SIM118, not a dict
            part, name = key.split(".", 1)
            tensors[part][name] = file.get_tensor(key)
    names = {field.name for field in fields(MinimalDiTConfig)}
    net_config = MinimalDiTConfig(
        **{name: value for name, value in config["net"].items() if name in names},
        condition_mask="condition_mask" in tensors["in"],
    )
    net = MinimalDiT(net_config).eval()
    constants = stored_constants(net_config)
    net.load_state_dict({key: weight for key, weight in tensors["weights"].items() if key not in constants})
    return Golden(config, tensors["in"], tensors["out"], net)


def call(golden: Golden, **options: Any) -> Tensor:
    inputs = golden.inputs
    with torch.inference_mode():
        return golden.net(
            inputs["x"],
            inputs["timesteps"],
            inputs["crossattn_emb"],
            condition_mask_B1THW=inputs.get("condition_mask"),
            padding_mask_B1HW=inputs["padding_mask"],
            **options,
        )


def assert_golden(actual: Tensor, expected: Tensor, name: str = "") -> None:
    assert actual.shape == expected.shape, name
    tolerance = 1e-5 * max(1.0, float(expected.std()))
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0, msg=lambda text: f"{name}: {text}")


def random_net(config: MinimalDiTConfig = TINY, **options: Any) -> MinimalDiT:
    generator = torch.Generator().manual_seed(0)
    net = MinimalDiT(config, **options).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net


def random_inputs(batch: int = 1, frames: int = 3, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x_BCTHW": torch.randn(batch, 16, frames, 6, 8, generator=generator),
        "timesteps_BT": torch.rand(batch, frames, generator=generator),
        "text": torch.randn(batch, 5, 24, generator=generator),
        "condition_mask_B1THW": torch.randint(2, (batch, 1, frames, 6, 8), generator=generator).float(),
    }


@pytest.mark.parametrize("case", ["dit_2b_like", "dit_14b_like", "dit_text2image"])
def test_every_stage_matches_the_original(case):
    golden = load_golden(case)
    traces: dict[str, Tensor] = {}
    golden.net.x_embedder.register_forward_hook(lambda _, __, out: traces.update(x_embedded=out))
    golden.net.t_embedding_norm.register_forward_hook(lambda _, __, out: traces.update(t_embedding=out))
    golden.net.t_embedder[1].register_forward_hook(lambda _, __, out: traces.update(adaln_lora=out[1]))
    for i, block in enumerate(golden.net.blocks):
        block.register_forward_hook(lambda _, __, out, i=i: traces.update({f"block{i}": out}))

    assert_golden(call(golden), golden.outputs["y"], "y")
    expected = {name[6:]: out for name, out in golden.outputs.items() if name.startswith("trace.")}
    assert traces.keys() == expected.keys()
    for name, trace in traces.items():
        assert_golden(trace, expected[name], name)


@pytest.mark.parametrize("case", ["dit_2b_like", "dit_14b_like"])
def test_images_bfloat16_and_rotary_angles_match_the_original(case):
    golden = load_golden(case)
    grid = (3, 3, 4)
    angles = golden.net.rope_angles(grid)
    assert_golden(torch.cat([angles, angles], dim=-1)[:, None, None], golden.outputs["rope_emb"])

    inputs = golden.inputs
    with torch.inference_mode():
        image = golden.net(
            inputs["x"][:, :, :1],
            inputs["timesteps"][:, :1],
            inputs["crossattn_emb"],
            padding_mask_B1HW=inputs["padding_mask"],
        )
    assert_golden(image, golden.outputs["y_image"])

    half = golden._replace(
        net=golden.net.bfloat16(), inputs={name: tensor.bfloat16() for name, tensor in inputs.items()}
    )
    expected = golden.outputs["y_bf16"].float()
    y = call(half, rope=RotaryTable.from_angles(angles))  # the original run kept its table in float32
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, atol=3e-2 * float(expected.std()), rtol=0)


@pytest.mark.parametrize("case", ["dit_options"])
def test_rare_options_match_the_original(case):
    golden = load_golden(case)
    for fps in golden.config["fps"]:
        assert_golden(call(golden, fps=fps), golden.outputs[f"y_fps{fps}"], f"fps {fps}")


@pytest.mark.parametrize("size", FULL_SIZE)
def test_full_size_networks_have_exactly_the_published_keys_and_shapes(size):
    manifest = json.loads((GOLDEN / "manifests" / f"predict2_{size}_video2world.json").read_text())
    with torch.device("meta"):
        net = MinimalDiT(FULL_SIZE[size])
    assert not dict(net.named_buffers())
    ours = {key: tuple(weight.shape) for key, weight in net.state_dict().items()} | stored_constants(FULL_SIZE[size])
    assert ours == {key.removeprefix("net."): tuple(entry["shape"]) for key, entry in manifest.items()}


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        (
            {"use_adaln_lora": False},
            {
                "t_embedder.1.linear_1.bias": (48,),
                "t_embedder.1.linear_2.weight": (48, 48),
                "blocks.0.adaln_modulation_mlp.1.weight": (144, 48),
                "final_layer.adaln_modulation.1.weight": (96, 48),
            },
        ),
        (
            {"extra_per_block_abs_pos_emb": True},
            {
                "extra_pos_embedder.pos_emb_t": (8, 48),
                "extra_pos_embedder.pos_emb_h": (8, 48),
                "extra_pos_embedder.pos_emb_w": (8, 48),
            },
        ),
        (
            {"crossattn_proj_in_channels": 40},
            {"crossattn_proj.0.weight": (24, 40), "crossattn_proj.0.bias": (24,)},
        ),
    ],
)
def test_options_have_the_original_key_names(options, shapes):
    net = random_net(replace(TINY, **options))
    assert shapes.items() <= {key: tuple(weight.shape) for key, weight in net.state_dict().items()}.items()


def test_plain_adaln_modulates_by_the_time_mlp_alone():
    net = random_net(replace(TINY, use_adaln_lora=False))
    times = torch.tensor([[0.25, 0.75]])
    emb, adaln_lora = net.embed_timesteps(times)
    angles = times[..., None] * 10000.0 ** (-torch.arange(24) / 24)
    hidden = nn.functional.silu(net.t_embedder[1].linear_1(torch.cat([angles.cos(), angles.sin()], -1)))
    out = net.t_embedder[1].linear_2(hidden)
    expected = out * torch.rsqrt(out.square().mean(-1, keepdim=True) + 1e-6) * net.t_embedding_norm.weight
    assert adaln_lora is None
    torch.testing.assert_close(emb, expected, atol=1e-5, rtol=1e-5)


def test_learnt_positions_have_root_mean_square_one_and_enter_every_block():
    net = random_net(replace(TINY, extra_per_block_abs_pos_emb=True))
    positions = net.position_embedding((3, 3, 4))
    summed = (
        net.extra_pos_embedder.pos_emb_t[2] + net.extra_pos_embedder.pos_emb_h[1] + net.extra_pos_embedder.pos_emb_w[3]
    )
    torch.testing.assert_close(positions[2, 1, 3], summed / summed.square().mean().sqrt(), atol=1e-5, rtol=1e-5)

    inputs = random_inputs()
    x = net.embed(inputs["x_BCTHW"], inputs["condition_mask_B1THW"])
    emb, lora = net.embed_timesteps(inputs["timesteps_BT"])
    rope = net.rotary_table((3, 3, 4))
    for block in net.blocks:
        x = block(x + positions, emb, lora, inputs["text"], rope)
    torch.testing.assert_close(net(**inputs), net.finish(x, emb, lora), atol=1e-5, rtol=1e-5)


def test_text_encoded_once_gives_the_same_velocity():
    net = random_net(replace(TINY, crossattn_proj_in_channels=40))
    inputs = random_inputs() | {"text": torch.randn(1, 5, 40, generator=torch.Generator().manual_seed(2))}
    with torch.inference_mode():
        torch.testing.assert_close(net(**inputs | {"text": net.encode_text(inputs["text"])}), net(**inputs))


def test_a_batch_of_two_is_two_singles():
    net = random_net()
    inputs = random_inputs(batch=2)
    with torch.inference_mode():
        both = net(**inputs)
        singles = [net(**{name: tensor[i : i + 1] for name, tensor in inputs.items()}) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(singles), atol=1e-5, rtol=1e-5)


def test_training_computes_the_same_and_reaches_every_parameter():
    net = random_net(replace(TINY, extra_per_block_abs_pos_emb=True, crossattn_proj_in_channels=24))
    inputs = random_inputs()
    y = net(**inputs)
    with torch.inference_mode():
        torch.testing.assert_close(net(**inputs), y.detach(), atol=1e-5, rtol=1e-5)
    y.square().mean().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


def test_blocks_leave_their_inputs_alone():
    net = random_net()
    x = torch.randn(1, 2, 3, 4, 48, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    with torch.inference_mode():
        emb, lora = net.embed_timesteps(torch.tensor([[0.5]]))
        net.blocks[0](x, emb, lora, torch.ones(1, 5, 24), net.rotary_table((2, 3, 4)))
        net.finish(x, emb, lora)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("size", "worst_rad"), [("2b", 0.187), ("14b", 0.285)])
def test_bfloat16_rotary_table_is_off_by_as_much_as_the_original(size, worst_rad):
    with torch.device("meta"):
        net = MinimalDiT(replace(FULL_SIZE[size], num_blocks=1))
    grid = (24, 44, 80)
    exact = net.rope_angles(grid, device="cpu")
    rounded = net.bfloat16().rope_angles(grid, device="cpu")
    assert float((rounded - exact).abs().max()) == pytest.approx(worst_rad, abs=1e-3)


def test_a_bfloat16_network_rounds_its_rotary_table_by_default():
    net = random_net().bfloat16()
    inputs = {name: tensor.bfloat16() for name, tensor in random_inputs().items()}
    with torch.inference_mode():
        default = net(**inputs)
        rounded = net(**inputs, rope=net.rotary_table((3, 3, 4), dtype=torch.bfloat16))
        exact = net(**inputs, rope=net.rotary_table((3, 3, 4), dtype=torch.float32))
    assert torch.equal(default, rounded)
    assert not torch.equal(default, exact)


def test_a_rotary_table_cut_in_two_rotates_the_same():
    net = random_net()
    whole = net.rotary_table((2, 3, 4))
    parts = whole.tokens(0, 12), whole.tokens(12, 24)
    assert torch.equal(torch.cat([part.cos_LR for part in parts]), whole.cos_LR)
    assert torch.equal(torch.cat([part.sin_LR for part in parts]), whole.sin_LR)


def test_sparse_blocks_with_whole_axis_windows_are_dense():
    everything = NeighborhoodConfig(window=(-1, -1, -1))
    inputs = random_inputs()
    with torch.inference_mode():
        sparse = random_net(neighborhoods=[everything, None])(**inputs)
        narrow = random_net(neighborhoods=[NeighborhoodConfig(window=(-1, 2, 2)), None])(**inputs)
        dense = random_net()(**inputs)
    torch.testing.assert_close(sparse, dense, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(narrow, dense, atol=1e-2)


@pytest.mark.parametrize("grid", [(129, 4, 4), (1, 121, 4), (1, 4, 121)])
def test_grids_beyond_the_limits_are_refused(grid):
    with torch.device("meta"):
        net = MinimalDiT(replace(FULL_SIZE["2b"], num_blocks=1))
    with pytest.raises(ValueError, match="exceeds the network's limit"):
        net.rope_angles(grid)


def test_wrong_shapes_are_refused():
    net = random_net()
    inputs = random_inputs()
    with pytest.raises(ValueError, match="do not fit 16 channels"):
        net(**inputs | {"x_BCTHW": torch.zeros(1, 16, 3, 5, 8)})
    with pytest.raises(ValueError, match="do not fit 16 channels"):
        net(**inputs | {"x_BCTHW": torch.zeros(1, 8, 3, 6, 8)})
    with pytest.raises(ValueError, match="2 timesteps per sample for 3 latent frames"):
        net(**inputs | {"timesteps_BT": torch.zeros(1, 2)})
    with pytest.raises(ValueError, match="rotary table holds 24 tokens"):
        net(**inputs, rope=net.rotary_table((2, 3, 4)))
    with pytest.raises(ValueError, match="no condition mask channel"):
        random_net(replace(TINY, condition_mask=False))(**inputs)
    with pytest.raises(ValueError, match="1 neighborhoods for 2 blocks"):
        random_net(neighborhoods=[None])
    with pytest.raises(ValueError, match="heads must split"):
        replace(TINY, num_heads=5)


def test_fps_modulation_needs_one_fps_for_videos_and_none_for_images():
    net = random_net(replace(TINY, rope_enable_fps_modulation=True))
    for fps in (None, torch.tensor([10.0, 24.0])):
        with pytest.raises(ValueError, match="one fps"):
            net.rope_angles((3, 3, 4), fps=fps)
    assert torch.equal(net.rope_angles((1, 3, 4)), net.rope_angles((1, 3, 4), fps=10))
    assert torch.equal(
        net.rope_angles((3, 3, 4), fps=torch.tensor([12.0]))[12:24], net.rope_angles((3, 3, 4), fps=24)[24:]
    )
