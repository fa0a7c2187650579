"""The minimal DiT over several cameras, against the network of one camera and against itself; `tests/parity` compares
it with the original."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import MinimalDiTConfig, MinimalMultiviewDiTConfig
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT

TINY = MinimalMultiviewDiTConfig(
    model_channels=48,
    num_blocks=2,
    num_heads=2,
    crossattn_emb_channels=24,
    adaln_lora_dim=8,
    max_img_h=16,
    max_img_w=16,
    max_frames=8,
    state_t=2,
    n_cameras_emb=4,
    view_condition_dim=3,
)
VIEWS, TEXT_TOKENS = 3, 5


def random_net(network: Any = MinimalMultiviewDiT, config: MinimalDiTConfig = TINY) -> Any:
    generator = torch.Generator().manual_seed(0)
    net = network(config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net.eval()


def inputs(batch: int = 1, views: int = VIEWS) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    frames = views * TINY.state_t
    return {
        "x_BCTHW": torch.randn(batch, 16, frames, 6, 8, generator=generator),
        "timesteps_BT": torch.rand(batch, frames, generator=generator),
        "text": torch.randn(batch, views, TEXT_TOKENS, 24, generator=generator),
        "condition_mask_B1THW": torch.randint(2, (batch, 1, frames, 6, 8), generator=generator).float(),
        "view_indices_BV": torch.tensor([[2, 0, 1]]).expand(batch, -1)[:, :views],
        "fps": 10,
    }


def views_of(x_BCTHW: Tensor) -> tuple[Tensor, ...]:
    return x_BCTHW.split(TINY.state_t, dim=2)


def single_view() -> MinimalDiTConfig:
    return MinimalDiTConfig(**{field.name: getattr(TINY, field.name) for field in fields(MinimalDiTConfig)})


def test_one_view_is_the_single_view_network_with_constant_input_channels() -> None:
    net, single, given = random_net(), random_net(MinimalDiT, single_view()), inputs(views=1)
    weights = net.state_dict()
    camera = weights.pop("view_embeddings.weight")[2]
    # the embedding is the same everywhere, so its part of the patch embedding is a constant vector
    kernel = weights["x_embedder.proj.1.weight"].unflatten(1, (-1, 4))
    weights["x_embedder.proj.1.weight"] = kernel[:, :18].flatten(1)
    single.load_state_dict(weights)
    constant = torch.einsum("dcp,c->d", kernel[:, 18:], camera)
    single.x_embedder.register_forward_hook(lambda _module, _args, tokens: tokens + constant)
    with torch.inference_mode():
        many = net(**given)
        del given["view_indices_BV"]
        one = single(**given | {"text": given["text"][:, 0]})
    torch.testing.assert_close(many, one, atol=1e-5, rtol=1e-5)


def test_the_order_of_the_views_does_not_matter() -> None:
    net, given = random_net(), inputs()
    order = [2, 0, 1]
    turned = given | {
        "text": given["text"][:, order],
        "view_indices_BV": given["view_indices_BV"][:, order],
        "timesteps_BT": torch.cat([given["timesteps_BT"].split(2, dim=1)[i] for i in order], dim=1),
        **{
            name: torch.cat([views_of(given[name])[i] for i in order], dim=2)
            for name in ("x_BCTHW", "condition_mask_B1THW")
        },
    }
    with torch.inference_mode():
        expected = torch.cat([views_of(net(**given))[i] for i in order], dim=2)
        torch.testing.assert_close(net(**turned), expected, atol=1e-5, rtol=1e-5)


def test_a_text_reaches_its_own_view_alone_and_attention_reaches_all() -> None:
    net, given = random_net(), inputs()
    text = given["text"].clone()
    text[:, 1] += 1
    layer, generator = net.blocks[0].cross_attn, torch.Generator().manual_seed(2)
    tokens = torch.randn(1, 6, 3, 4, 48, generator=generator)
    with torch.inference_mode():
        changed = (layer(tokens, text) - layer(tokens, given["text"])).abs().amax(dim=(0, 2, 3, 4))
        assert changed[2:4].min() > 0
        assert changed[:2].max() == changed[4:].max() == 0
        spread = net(**given | {"text": text}) - net(**given)
    assert all(view.abs().max() > 1e-4 for view in views_of(spread))


def test_rotary_positions_begin_anew_with_each_view_and_count_seconds() -> None:
    net = random_net()
    angles = net.rope_angles((6, 3, 4), fps=10).unflatten(0, (VIEWS, -1))
    assert torch.equal(angles[0], angles[1])
    assert torch.equal(angles[0], angles[2])
    in_frames = MinimalDiT(replace(single_view(), rope_enable_fps_modulation=False)).rope_angles((2, 3, 4))
    turned_by_time = TINY.head_dim // 2 - 2 * (TINY.head_dim // 6)
    torch.testing.assert_close(angles[0][:, :turned_by_time], in_frames[:, :turned_by_time] * 24 / 10)
    assert torch.equal(angles[0][:, turned_by_time:], in_frames[:, turned_by_time:])


def test_cameras_are_told_apart_count_from_zero_and_share_the_last_row_beyond_the_table() -> None:
    net, given = random_net(), inputs()

    def with_cameras(*cameras: int) -> Tensor:
        with torch.inference_mode():
            return net(**given | {"view_indices_BV": torch.tensor([cameras])})

    with torch.inference_mode():
        counted = net(**given | {"view_indices_BV": None})
    assert torch.equal(counted, with_cameras(0, 1, 2))
    assert torch.equal(with_cameras(0, 1, 9), with_cameras(0, 1, 3))
    assert not torch.allclose(with_cameras(0, 1, 3), counted, atol=1e-3)


def test_text_and_tables_computed_once_give_the_same_velocity_and_a_batch_is_its_samples() -> None:
    net, given = random_net(), inputs(batch=2)
    with torch.inference_mode():
        both = net(**given)
        once = net(**given | {"text": net.encode_text(given["text"]), "rope": net.rotary_table((6, 3, 4), fps=10)})
        second = net(**{name: value[1:] if isinstance(value, Tensor) else value for name, value in given.items()})
    torch.testing.assert_close(once, both, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second, both[1:], atol=1e-5, rtol=1e-5)


def test_training_reaches_every_parameter() -> None:
    net = random_net()
    net(**inputs()).square().mean().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


def test_what_is_not_of_one_number_of_views_is_refused() -> None:
    net, given = random_net(), inputs()
    with pytest.raises(ValueError, match="texts of 2 views for latents of 3"):
        net(**given | {"text": given["text"][:, :2]})
    with pytest.raises(ValueError, match="texts of 2 views for latents of 3"):
        net(**given | {"text": net.encode_text(given["text"][:, :2])})
    with pytest.raises(ValueError, match=r"view indices of shape \(1, 2\) for \(1, 3\) views"):
        net(**given | {"view_indices_BV": torch.tensor([[0, 1]])})
    for frames in (0, 5, 10):
        with pytest.raises(ValueError, match=f"{frames} latent frames are not 1 to 4 views of 2"):
            net.num_views(frames)
    with pytest.raises(ValueError, match="need one fps"):
        net(**given | {"fps": None})
