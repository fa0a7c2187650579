"""The general DiT against closed forms and itself; `tests/parity` compares it with the original."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import LOGVAR_SHAPES, GeneralDiT, stored_constants

SEVEN_B = GeneralDiTConfig(model_channels=4096, num_blocks=28, num_heads=32, rope_t_extrapolation_ratio=2.0)
TINY = GeneralDiTConfig(
    model_channels=48,
    num_blocks=3,
    num_heads=2,
    crossattn_emb_channels=24,
    adaln_lora_dim=8,
    max_img_h=16,
    max_img_w=16,
    max_frames=8,
)
GRID = (3, 3, 4)


def random_net(config: GeneralDiTConfig = TINY) -> GeneralDiT:
    generator = torch.Generator().manual_seed(0)
    net = GeneralDiT(config).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net


def random_inputs(batch: int = 1, frames: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {
        "x_BCTHW": torch.randn(batch, 16, frames, 6, 8, generator=generator),
        "timesteps_B": torch.randn(batch, generator=generator),
        "text": torch.randn(batch, 5, 24, generator=generator),
        "condition_mask_B1THW": torch.randint(2, (batch, 1, frames, 6, 8), generator=generator).float(),
        "fps": 24,
    }


def random_residuals(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(1, *GRID, 48, generator=generator) for _ in range(count)]


def assert_equal(actual: Tensor | None, expected: Tensor | None) -> None:
    assert actual is not None
    assert expected is not None
    assert torch.equal(actual, expected)


def block_by_block(net: GeneralDiT, inputs: dict[str, Any], residuals: list[Tensor]) -> Tensor:
    x = net.embed(inputs["x_BCTHW"], inputs["condition_mask_B1THW"])
    emb, lora = net.embed_timesteps(inputs["timesteps_B"])
    rope, positions = net.rotary_table(GRID, fps=inputs["fps"]), net.position_embedding(GRID)
    for i, block in enumerate(net.blocks.values()):
        x = block(x, emb, lora, inputs["text"], rope, positions)
        if i < len(residuals):
            x = x + residuals[i]
    return net.finish(x, emb, lora)


def test_full_size_networks_have_the_published_number_of_parameters_and_no_buffers() -> None:
    with torch.device("meta"):
        video, text = GeneralDiT(SEVEN_B), GeneralDiT(replace(SEVEN_B, condition_mask=False))
    assert sum(p.numel() for p in video.parameters()) == 7_236_208_640
    assert sum(p.numel() for p in text.parameters()) == 7_236_192_256
    assert not dict(video.named_buffers())


@pytest.mark.parametrize("prefix", ["net.", "base_model.net."])
def test_a_file_of_the_published_layout_loads_without_what_is_not_learnt(tmp_path: Path, prefix: str) -> None:
    net = random_net()
    container = prefix.removesuffix("net.")
    constants = {f"{prefix}{name}": torch.zeros(shape) for name, shape in stored_constants(TINY).items()}
    logvar = {f"{container}{name}": torch.zeros(shape) for name, shape in LOGVAR_SHAPES.items()}
    bookkeeping = {f"{prefix}blocks.block0.blocks.0.block.attn.attn_op._extra_state": torch.zeros(0)}
    weights = {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save(weights | constants | logvar | bookkeeping, tmp_path / "model.pt")
    naming = replace(PUBLISHED, prefixes=(prefix,))
    loaded = load_network(lambda: GeneralDiT(TINY), tmp_path / "model.pt", naming=naming)
    inputs = random_inputs()
    with torch.inference_mode():
        assert torch.equal(loaded(**inputs), net(**inputs))


def test_what_is_constant_over_the_steps_can_be_computed_once() -> None:
    net, inputs = random_net(), random_inputs()
    with torch.inference_mode():
        once = {
            "text": net.encode_text(inputs["text"]),
            "rope": net.rotary_table(GRID, fps=24),
            "positions_THWD": net.position_embedding(GRID),
            "fps": None,
        }
        torch.testing.assert_close(net(**inputs | once), net(**inputs), atol=1e-6, rtol=1e-6)


def test_control_residuals_are_added_after_the_first_blocks() -> None:
    net, inputs = random_net(), random_inputs()
    residuals = random_residuals(2)
    kept = [residual.clone() for residual in residuals]
    with torch.inference_mode():
        y = net(**inputs, control_residuals=iter(residuals))
        torch.testing.assert_close(y, block_by_block(net, inputs, kept), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net(**inputs), block_by_block(net, inputs, []), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(residuals, kept, strict=True))


def test_each_residual_is_asked_for_when_its_block_is_done_and_more_than_blocks_are_refused() -> None:
    net, inputs = random_net(), random_inputs()
    order: list[str] = []
    for name, block in net.blocks.items():
        block.register_forward_hook(lambda *_, name=name: order.append(name))

    def residuals() -> Iterator[Tensor]:
        for i, residual in enumerate(random_residuals(2)):
            order.append(f"residual{i}")
            yield residual

    net(**inputs, control_residuals=residuals())
    assert order == ["block0", "residual0", "block1", "residual1", "block2"]
    with pytest.raises(ValueError, match="more control residuals than the network's 3 blocks"):
        net(**inputs, control_residuals=random_residuals(4))


def test_a_batch_of_two_is_two_singles() -> None:
    net, inputs = random_net(), random_inputs(batch=2)
    with torch.inference_mode():
        both = net(**inputs)
        singles = [
            net(**{name: value[i : i + 1] if isinstance(value, Tensor) else value for name, value in inputs.items()})
            for i in range(2)
        ]
    torch.testing.assert_close(both, torch.cat(singles), atol=1e-5, rtol=1e-5)


def test_training_computes_the_same_and_reaches_every_parameter() -> None:
    net, inputs = random_net(), random_inputs()
    y = net(**inputs, control_residuals=random_residuals(2))
    with torch.inference_mode():
        same = net(**inputs, control_residuals=random_residuals(2))
        torch.testing.assert_close(same, y.detach(), atol=1e-5, rtol=1e-5)
    y.square().mean().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


def test_blocks_leave_their_inputs_alone() -> None:
    net = random_net()
    x = torch.randn(1, *GRID, 48, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    with torch.inference_mode():
        emb, lora = net.embed_timesteps(torch.tensor([0.5]))
        net.blocks["block0"](x, emb, lora, torch.ones(1, 5, 24), net.rotary_table(GRID, fps=24))
        net.finish(x, emb, lora)
    assert torch.equal(x, before)


def test_the_noise_of_given_frames_moves_the_timestep_embedding_only() -> None:
    net = random_net(replace(TINY, add_augment_sigma_embedding=True, affline_emb_norm=False))
    times, augment = torch.tensor([0.3, -0.2]), torch.tensor([-1.5, 0.4])
    emb, lora = net.embed_timesteps(times, augment)
    frequencies = 10000.0 ** (-torch.arange(24) / 24)
    angles, more = times[:, None] * frequencies, augment[:, None] * frequencies
    expected = torch.cat([angles.cos() + more.cos(), angles.sin() + more.sin()], dim=-1)
    torch.testing.assert_close(emb[:, 0], expected)
    assert_equal(lora, net.embed_timesteps(times)[1])
    assert torch.equal(net.embed_timesteps(times)[0], net.embed_timesteps(times, torch.zeros(2))[0])


def test_patches_embedded_by_a_convolution_are_the_same_tokens() -> None:
    net, legacy = random_net(), random_net(replace(TINY, legacy_patch_emb=True))
    kernel = net.state_dict()["x_embedder.proj.1.weight"].view(48, 18, 1, 2, 2)
    legacy.load_state_dict({"x_embedder.proj.weight": kernel}, strict=False)
    x = random_inputs()["x_BCTHW"]
    torch.testing.assert_close(legacy.embed(x), net.embed(x), atol=1e-5, rtol=1e-5)


def test_fixed_positions_are_sines_and_cosines_of_frame_row_and_column() -> None:
    net = random_net(replace(TINY, extra_per_block_abs_pos_emb_type="sincos", extra_t_extrapolation_ratio=2.0))
    assert not [key for key in net.state_dict() if key.startswith("extra_pos_embedder")]
    expected = []
    for position, width in ((2 / 2.0, 16), (1, 16), (3, 16)):
        angles = position * 10000.0 ** (-torch.arange(width // 2) / (width / 2))
        expected += [angles.sin(), angles.cos()]
    positions = net.position_embedding(GRID)
    assert positions is not None
    torch.testing.assert_close(positions[2, 1, 3], torch.cat(expected), atol=1e-6, rtol=1e-6)
    assert random_net(replace(TINY, extra_per_block_abs_pos_emb=False)).position_embedding(GRID) is None


def test_bfloat16_rotary_table_is_off_by_as_much_as_the_original() -> None:
    with torch.device("meta"):
        net = GeneralDiT(replace(SEVEN_B, num_blocks=1))
    grid = (16, 44, 80)
    exact = net.rope_angles(grid, fps=24, device="cpu")
    rounded = net.bfloat16().rope_angles(grid, fps=24, device="cpu")
    time, height, width = (rounded - exact).abs().split((22, 21, 21), dim=-1)
    assert [float(axis.max()) for axis in (time, height, width)] == pytest.approx([0.026, 0.074, 0.148], abs=1e-3)


def test_temporal_positions_count_seconds_and_an_image_has_none() -> None:
    net = random_net()
    assert torch.equal(net.rope_angles((1, 3, 4)), net.rope_angles((1, 3, 4), fps=10))
    assert torch.equal(net.rope_angles(GRID, fps=torch.tensor([12.0]))[12:24], net.rope_angles(GRID, fps=24)[24:])
    for fps in (None, torch.tensor([10.0, 24.0])):
        with pytest.raises(ValueError, match="one fps"):
            net.rope_angles(GRID, fps=fps)


def test_a_bfloat16_network_rounds_its_rotary_table_by_default() -> None:
    net = random_net().bfloat16()
    inputs = {k: v.bfloat16() if isinstance(v, Tensor) else v for k, v in random_inputs().items()}
    with torch.inference_mode():
        default = net(**inputs)
        rounded = net(**inputs, rope=net.rotary_table(GRID, fps=24, dtype=torch.bfloat16))
        exact = net(**inputs, rope=net.rotary_table(GRID, fps=24, dtype=torch.float32))
    assert torch.equal(default, rounded)
    assert not torch.equal(default, exact)


def test_what_does_not_fit_is_refused() -> None:
    net, inputs = random_net(), random_inputs()
    with pytest.raises(ValueError, match="do not fit 16 channels"):
        net(**inputs | {"x_BCTHW": torch.zeros(1, 16, 3, 5, 8)})
    with pytest.raises(ValueError, match="rotary table holds 24 tokens"):
        net(**inputs, rope=net.rotary_table((2, 3, 4), fps=24))
    with pytest.raises(ValueError, match="position embedding has a grid of"):
        net(**inputs, positions_THWD=net.position_embedding((2, 3, 4)))
    with pytest.raises(ValueError, match="exceeds the network's limit"):
        net.rope_angles((9, 3, 4), fps=24)
    with pytest.raises(ValueError, match="not told how noisy"):
        net(**inputs, augment_timesteps_B=torch.zeros(1))
    with pytest.raises(ValueError, match="no condition mask channel"):
        random_net(replace(TINY, condition_mask=False))(**inputs)
    with pytest.raises(ValueError, match="no position embedding of type 'rope'"):
        replace(TINY, extra_per_block_abs_pos_emb_type="rope")
