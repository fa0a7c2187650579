"""Networks for several views against closed forms and themselves; `tests/parity` compares them with the originals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import GeneralDiTConfig, MultiViewConfig, MultiViewControlBranchConfig
from cosmos_cli.models.control_branch import sum_residuals
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT

SIZE: dict[str, Any] = {
    "model_channels": 48,
    "num_heads": 2,
    "crossattn_emb_channels": 24,
    "adaln_lora_dim": 8,
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 2,
}
TINY = MultiViewConfig(num_blocks=2, **SIZE, n_views=3, n_views_emb=5, view_condition_dim=4)
BRANCH = MultiViewControlBranchConfig(num_blocks=1, **SIZE, n_views=3, n_views_emb=5, view_condition_dim=4)
SEVEN_B: dict[str, Any] = {"model_channels": 4096, "num_heads": 32}
VIEWS, FRAMES, TOKENS = 3, 2, 5


def randomised(net: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net.eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(batch: int = 1) -> dict[str, Any]:
    return {
        "x_BCTHW": noise(batch, 16, VIEWS * FRAMES, 4, 6),
        "timesteps_B": noise(batch),
        "text": noise(batch, VIEWS * TOKENS, 24),
        "condition_mask_B1THW": noise(batch, 1, VIEWS * FRAMES, 4, 6, seed=2).sign().clamp(min=0),
        "fps": 24,
    }


def by_view(x: Tensor, dim: int) -> tuple[Tensor, ...]:
    return x.chunk(VIEWS, dim)


def test_full_size_networks_have_the_published_number_of_parameters_and_no_buffers() -> None:
    with torch.device("meta"):
        six = MultiViewDiT(MultiViewConfig(num_blocks=28, **SEVEN_B))
        seven = MultiViewDiT(MultiViewConfig(num_blocks=28, **SEVEN_B, n_views_emb=7))
        branch = MultiViewControlBranch(MultiViewControlBranchConfig(num_blocks=3, **SEVEN_B, n_views_emb=7))
    assert sum(p.numel() for p in six.parameters()) == 7_234_799_664
    assert sum(p.numel() for p in seven.parameters()) == 7_234_799_670
    assert sum(p.numel() for p in branch.parameters()) == 890_253_142
    assert not dict(seven.named_buffers())


def test_a_prompt_reaches_its_own_view_alone_except_through_the_tokens() -> None:
    given = inputs()
    changed = given["text"].clone()
    changed[:, TOKENS : 2 * TOKENS] += 1

    def views_that_differ(num_blocks: int) -> list[bool]:
        net = randomised(MultiViewDiT(replace(TINY, num_blocks=num_blocks)))
        with torch.inference_mode():
            difference = net(**given) - net(**given | {"text": changed})
        return [bool(view.any()) for view in by_view(difference, 2)]

    # a block attends to its tokens first and to the text last, so one block carries nothing to other views
    assert views_that_differ(num_blocks=1) == [False, True, False]
    assert views_that_differ(num_blocks=2) == [True, True, True]


def test_views_in_another_order_give_the_same_in_that_order() -> None:
    net, given, order = randomised(MultiViewDiT(TINY)), inputs(), [2, 0, 1]
    repeats = noise(1, VIEWS, seed=3)

    def permuted(x: Tensor, dim: int) -> Tensor:
        views = by_view(x, dim)
        return torch.cat([views[number] for number in order], dim)

    other = {
        "x_BCTHW": permuted(given["x_BCTHW"], 2),
        "text": permuted(given["text"], 1),
        "condition_mask_B1THW": permuted(given["condition_mask_B1THW"], 2),
        "views_BEVT": net.encode_views(torch.tensor(order), repeats[:, order]),
    }
    with torch.inference_mode():
        y = net(**given, views_BEVT=net.encode_views(frame_repeat_BV=repeats))
        torch.testing.assert_close(net(**given | other), permuted(y, 2), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(net(**given | other | {"views_BEVT": None}), permuted(y, 2), atol=1e-3)


def test_one_view_that_is_not_described_is_the_network_for_one_view() -> None:
    config = replace(TINY, n_views=1, n_views_emb=1, add_repeat_frame_embedding=False)
    own = {"n_views", "n_views_emb", "view_condition_dim", "add_repeat_frame_embedding"}
    fields = {name: value for name, value in vars(config).items() if name not in own}
    net, single = randomised(MultiViewDiT(config)), GeneralDiT(GeneralDiTConfig(**fields)).eval()
    weights = {name: tensor for name, tensor in net.state_dict().items() if name != "view_embeddings.weight"}
    weights["x_embedder.proj.1.weight"] = weights["x_embedder.proj.1.weight"][:, : 18 * 4]
    single.load_state_dict(weights)
    nn.init.zeros_(net.view_embeddings.weight)
    given = inputs()
    for name in ("x_BCTHW", "condition_mask_B1THW"):
        given[name] = given[name][:, :, :FRAMES]
    with torch.inference_mode():
        torch.testing.assert_close(net(**given), single(**given), atol=1e-5, rtol=1e-5)


def test_what_is_constant_over_the_steps_can_be_computed_once() -> None:
    net, given, grid = randomised(MultiViewDiT(TINY)), inputs(), (VIEWS * FRAMES, 2, 3)
    with torch.inference_mode():
        once = {
            "text": net.encode_text(given["text"]),
            "views_BEVT": net.encode_views(),
            "rope": net.rotary_table(grid, fps=24),
            "positions_THWD": net.position_embedding(grid),
            "fps": None,
        }
        torch.testing.assert_close(net(**given | once), net(**given), atol=1e-6, rtol=1e-6)


def test_every_view_counts_its_frames_from_0() -> None:
    net, grid = randomised(MultiViewDiT(TINY)), (VIEWS * FRAMES, 2, 3)
    for table in (net.rope_angles(grid, fps=10), net.position_embedding(grid)):
        first, *others = by_view(table, 0)
        assert all(torch.equal(first, other) for other in others)


def test_view_indices_may_be_given_per_view_or_per_frame_and_end_at_the_last_row() -> None:
    net = randomised(MultiViewDiT(TINY))
    by_row = net.encode_views(torch.tensor([0, 4, 4]))
    by_frame = net.encode_views(torch.tensor([[0, 0, 7, 7, 4, 4]]))
    assert by_frame.shape == (1, 4, VIEWS, FRAMES)
    torch.testing.assert_close(by_row.expand(-1, -1, -1, FRAMES), by_frame)
    assert torch.equal(net.encode_views(), net.encode_views(torch.arange(VIEWS), torch.zeros(1, VIEWS)))


def test_a_batch_of_two_is_two_singles() -> None:
    net, given = randomised(MultiViewDiT(TINY)), inputs(batch=2)
    views = net.encode_views(frame_repeat_BV=noise(2, VIEWS))
    with torch.inference_mode():
        both = net(**given, views_BEVT=views)
        singles = [
            net(
                **{name: value[i : i + 1] if isinstance(value, Tensor) else value for name, value in given.items()},
                views_BEVT=views[i : i + 1],
            )
            for i in range(2)
        ]
    torch.testing.assert_close(both, torch.cat(singles), atol=1e-5, rtol=1e-5)


def test_a_branch_steers_and_training_reaches_all_that_it_uses() -> None:
    base, branch, given = randomised(MultiViewDiT(TINY)), randomised(MultiViewControlBranch(BRANCH), seed=1), inputs()
    hint = branch.encode_hint(noise(1, 16, VIEWS * FRAMES, 4, 6, seed=2))
    arguments = {**given, "guided_hint_BTHWD": hint, "views_BEVT": branch.encode_views(torch.tensor([4, 1, 2]))}
    [residual] = branch(**arguments)
    assert residual.shape == (1, VIEWS * FRAMES, 2, 3, 48)
    steered = base(**given, control_residuals=sum_residuals([(0.5, branch.residuals(**arguments))]))
    torch.testing.assert_close(steered, base(**given, control_residuals=[0.5 * residual]), atol=1e-6, rtol=1e-6)
    steered.square().mean().backward()
    untouched = {key.partition(".")[0] for key, parameter in branch.named_parameters() if parameter.grad is None}
    assert untouched == {"final_layer"}
    assert [key for key, parameter in base.named_parameters() if parameter.grad is None] == []


def test_what_does_not_fit_is_refused() -> None:
    net, given = randomised(MultiViewDiT(TINY)), inputs()
    with pytest.raises(ValueError, match="5 latent frames do not divide among 3 views"):
        net(**given | {"x_BCTHW": torch.zeros(1, 16, 5, 4, 6), "condition_mask_B1THW": None})
    with pytest.raises(ValueError, match="14 positions do not divide among 3 views"):
        net(**given | {"text": given["text"][:, 1:]})
    with pytest.raises(ValueError, match="4 view indices"):
        net.encode_views(torch.arange(4))
    with pytest.raises(ValueError, match="exceeds the network's limit"):
        net.rope_angles((9, 2, 3), fps=24)
    with pytest.raises(ValueError, match="not told of repeated frames"):
        MultiViewDiT(replace(TINY, add_repeat_frame_embedding=False)).encode_views(None, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="fixed position embedding"):
        replace(TINY, extra_per_block_abs_pos_emb_type="learnable")
