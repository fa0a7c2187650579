"""The action-conditioned DiT, against a direct computation: there is no golden data of the original."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.configs import ActionDiTConfig
from cosmos_cli.models.minimal_dit import MinimalDiT, stored_constants

TINY: dict[str, Any] = {
    "model_channels": 48,
    "num_blocks": 2,
    "num_heads": 2,
    "crossattn_emb_channels": 24,
    "adaln_lora_dim": 8,
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 8,
}
CONFIG = ActionDiTConfig(**TINY, action_dim=12)


def random_net() -> ActionDiT:
    generator = torch.Generator().manual_seed(0)
    net = ActionDiT(CONFIG).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net


def inputs(batch: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "x_BCTHW": torch.randn(batch, 16, 3, 6, 8, generator=generator),
        "timesteps_BT": torch.rand(batch, 3, generator=generator),
        "text": torch.randn(batch, 5, 24, generator=generator),
        "actions": torch.randn(batch, 3, 4, generator=generator),
        "condition_mask_B1THW": torch.randint(2, (batch, 1, 3, 6, 8), generator=generator).float(),
    }


def mlp(weights: dict[str, Tensor], name: str, vector: Tensor) -> Tensor:
    """Two affine maps with the tanh form of GELU between them, written out."""
    hidden = weights[f"{name}.fc1.weight"] @ vector + weights[f"{name}.fc1.bias"]
    gelu = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return weights[f"{name}.fc2.weight"] @ gelu + weights[f"{name}.fc2.bias"]


def test_actions_add_to_the_noise_level_before_its_norm_and_to_the_shared_modulation() -> None:
    net, given = random_net(), inputs()
    weights = net.state_dict()
    flat = given["actions"].flatten()  # all numbers of the first action, then of the second
    angles = given["timesteps_BT"][..., None] * 10000.0 ** (-torch.arange(24) / 24)
    sinusoid = torch.cat([angles.cos(), angles.sin()], dim=-1)
    summed = sinusoid + mlp(weights, "action_embedder_B_D", flat)
    emb = summed * torch.rsqrt(summed.square().mean(-1, keepdim=True) + 1e-6) * weights["t_embedding_norm.weight"]
    hidden = nn.functional.silu(sinusoid @ weights["t_embedder.1.linear_1.weight"].T)
    lora = hidden @ weights["t_embedder.1.linear_2.weight"].T + mlp(weights, "action_embedder_B_3D", flat)

    with torch.inference_mode():
        ours = net.embed_timesteps_and_actions(given["timesteps_BT"], net.encode_actions(given["actions"]))
        torch.testing.assert_close(ours, (emb, lora), atol=1e-5, rtol=1e-5)

        x = net.embed(given["x_BCTHW"], given["condition_mask_B1THW"])
        rope = net.rotary_table((3, 3, 4))
        for block in net.blocks:
            x = block(x, emb, lora, given["text"], rope)
        torch.testing.assert_close(net(**given), net.finish(x, emb, lora), atol=1e-4, rtol=1e-4)


def test_embedders_of_zeros_leave_the_network_without_actions() -> None:
    net, given = random_net(), inputs()
    for name, parameter in net.named_parameters():
        if name.startswith("action_embedder"):
            nn.init.zeros_(parameter)
    plain = MinimalDiT(CONFIG)
    plain.load_state_dict({key: w for key, w in net.state_dict().items() if not key.startswith("action_embedder")})
    with torch.inference_mode():
        steered = net(**given)
        del given["actions"]
        assert torch.equal(steered, plain(**given))


def test_actions_encoded_once_give_the_same_velocity_and_a_batch_is_its_samples() -> None:
    net, given = random_net(), inputs(batch=2)
    with torch.inference_mode():
        both = net(**given)
        once = net(**given | {"actions": net.encode_actions(given["actions"])})
        singles = [net(**{name: tensor[i : i + 1] for name, tensor in given.items()}) for i in range(2)]
    assert torch.equal(once, both)
    torch.testing.assert_close(torch.cat(singles), both, atol=1e-5, rtol=1e-5)


def test_training_reaches_every_parameter() -> None:
    net = random_net()
    net(**inputs()).square().mean().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


def test_the_full_size_network_has_the_published_names_and_number_of_parameters() -> None:
    config = ActionDiTConfig(model_channels=2048, num_blocks=28, num_heads=16)
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in ActionDiT(config).state_dict().items()}
        plain = MinimalDiT(config).state_dict()
    assert sum(math.prod(shape) for shape in shapes.values()) == 2_024_923_136
    assert {key: shape for key, shape in shapes.items() if key not in plain} == {
        "action_embedder_B_D.fc1.weight": (8192, 84),
        "action_embedder_B_D.fc1.bias": (8192,),
        "action_embedder_B_D.fc2.weight": (2048, 8192),
        "action_embedder_B_D.fc2.bias": (2048,),
        "action_embedder_B_3D.fc1.weight": (8192, 84),
        "action_embedder_B_3D.fc1.bias": (8192,),
        "action_embedder_B_3D.fc2.weight": (6144, 8192),
        "action_embedder_B_3D.fc2.bias": (6144,),
    }
    assert stored_constants(config)["pos_embedder.seq"] == (128,)


def test_what_does_not_fit_is_refused() -> None:
    given = inputs()
    with pytest.raises(ValueError, match=r"actions of shape \(1, 2, 4\) do not hold 12 numbers per clip"):
        random_net()(**given | {"actions": given["actions"][:, :2]})
    with pytest.raises(ValueError, match="needs use_adaln_lora"):
        ActionDiTConfig(**TINY, use_adaln_lora=False)
