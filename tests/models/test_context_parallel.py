"""Several processes against one: the same videos from every network, and nothing sent that need not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.rectified_flow import denoise, first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.configs import (
    ActionDiTConfig,
    ControlBranchConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewConfig,
    MultiViewControlBranchConfig,
    NeighborhoodConfig,
)
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.runtime.workers.layout import Layout
from cosmos_cli.runtime.workers.mesh import axis_group, in_halves, make_mesh
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, RegionTexts, SharedInputs
from tests.processes import Exchanges, run_together

WIDTH, NUM_HEADS = 48, 4
SIZE: dict[str, Any] = {
    "model_channels": WIDTH,
    "num_heads": NUM_HEADS,
    "crossattn_emb_channels": 24,
    "adaln_lora_dim": 8,
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 8,
}
# 5 x 3 patches per frame, which neither 2 nor 4 ranks divide
T, H, W = 4, 10, 6
GRID = (4, 5, 3)
GUIDANCE = 3.0
LAYOUTS = [Layout(cp=4), Layout(dp=2, cp=2), Layout(cfg=2, cp=2), Layout(dp=2, cfg=2)]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def placed(net: Any, mesh: DeviceMesh | None, seed: int = 0) -> Any:
    """A network with random weights, on all ranks of a mesh's `cp` axis or on one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    parallelise(net, axis_group(mesh, "cp") if mesh else None)
    return net.eval()


def transfer(mesh: DeviceMesh | None) -> Tensor:
    """A base with two controls, given frames and texts for regions, sampled with guidance."""
    base = placed(GeneralDiT(GeneralDiTConfig(num_blocks=3, **SIZE)), mesh)
    config = ControlBranchConfig(num_blocks=2, **SIZE, hint_channels=32)
    first, second = (placed(ControlBranch(config), mesh, seed=seed) for seed in (1, 2))
    # all of its weight lies with one rank, and the others must take part all the same
    corner = torch.zeros(1, 1, *GRID)
    corner[..., 0, 0] = 0.7
    x, latents = noise(1, 16, T, H, W), noise(1, 16, T, H, W, seed=2)
    hints = [Hint(first, noise(1, 16, T, H, W, seed=3), corner), Hint(second, noise(1, 16, T, H, W, seed=4), 0.5)]
    shared = SharedInputs.of(
        base,
        hints,
        (T, H, W),
        noise(1, 5, 24, seed=5),
        noise(1, 5, 24, seed=6),
        guidance=GUIDANCE,
        fps=24,
        regions=RegionTexts([noise(1, 3, 24, seed=7), noise(1, 4, 24, seed=8)], noise(2, 60, seed=9) > 0.5),
    )
    denoiser = ControlledDenoiser(
        shared,
        hints,
        conditioning=first_frames(latents, 1),
        noise_BCTHW=x,
        dtype=torch.float32,
        guidance_group=axis_group(mesh, "cfg") if mesh else None,
    )
    return sample_res(denoiser, x * 80, karras_sigmas(3, 0.002, 80.0))


def predict(mesh: DeviceMesh | None) -> Tensor:
    """A sparse and a dense block, a learnt position embedding and given frames, sampled with guidance."""
    net = placed(
        MinimalDiT(
            MinimalDiTConfig(num_blocks=2, **SIZE, extra_per_block_abs_pos_emb=True),
            neighborhoods=[NeighborhoodConfig(window=(3, 3, 2)), None],
        ),
        mesh,
    )
    conditioning = first_frames(noise(1, 16, T, H, W), 2)
    mask = conditioning.mask_B1T11.expand(-1, -1, -1, H, W)
    prompt, negative = (net.encode_text(noise(1, 5, 24, seed=seed)) for seed in (2, 3))

    def x0(x_BCTHW: Tensor, sigma: Tensor, text: Any) -> Tensor:
        def velocity(x: Tensor, times: Tensor) -> Tensor:
            return net(x, times, text, condition_mask_B1THW=mask)

        return denoise(velocity, x_BCTHW, sigma, conditioning, dtype=torch.float32)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        group = axis_group(mesh, "cfg") if mesh else None
        return guide(*in_halves(lambda: x0(x, sigma, prompt), lambda: x0(x, sigma, negative), group), GUIDANCE)

    return sample_ab2(denoiser, noise(1, 16, T, H, W, seed=4) * 80, karras_sigmas(3, 0.002, 80.0))


def views_of_transfer(mesh: DeviceMesh | None) -> Tensor:
    size = SIZE | {"max_frames": 2, "n_views": 2, "view_condition_dim": 4}
    base = placed(MultiViewDiT(MultiViewConfig(num_blocks=2, **size)), mesh)
    branch = placed(MultiViewControlBranch(MultiViewControlBranchConfig(num_blocks=1, **size)), mesh, seed=1)
    given: dict[str, Any] = {
        "x_BCTHW": noise(2, 16, T, H, W),
        "timesteps_B": noise(2),
        "text": noise(2, 2 * 5, 24),
        "fps": 24,
    }
    hint = branch.encode_hint(noise(2, 16, T, H, W, seed=2))
    residuals = branch.residuals(**given, guided_hint_BTHWD=hint)
    return base(**given, control_residuals=sum_residuals([(0.5, residuals)], base.context))


def views_of_predict(mesh: DeviceMesh | None) -> Tensor:
    config = MinimalMultiviewDiTConfig(num_blocks=2, **SIZE, state_t=2, n_cameras_emb=4, view_condition_dim=3)
    net = placed(MinimalMultiviewDiT(config), mesh)
    return net(noise(2, 16, T, H, W), noise(2, T).sigmoid(), noise(2, 2, 5, 24), fps=10)


def action(mesh: DeviceMesh | None) -> Tensor:
    net = placed(ActionDiT(ActionDiTConfig(num_blocks=2, **SIZE, action_dim=12)), mesh)
    return net(noise(1, 16, T, H, W), noise(1, T).sigmoid(), noise(1, 5, 24), noise(1, 3, 4))


def small_picture(mesh: DeviceMesh | None) -> Tensor:
    """Fewer patches than ranks: some hold nothing but padding."""
    net = placed(MinimalDiT(MinimalDiTConfig(num_blocks=2, **SIZE)), mesh)
    return net(noise(1, 16, 1, 2, 6), noise(1, 1).sigmoid(), noise(1, 5, 24))


CASES: dict[str, Callable[[DeviceMesh | None], Tensor]] = {
    function.__name__: function
    for function in (transfer, predict, views_of_transfer, views_of_predict, action, small_picture)
}


def everything() -> dict[str, Any]:
    """What one of four processes computes."""
    results: dict[str, Any] = {}
    for layout in LAYOUTS:
        mesh = make_mesh(layout, torch.device("cpu"))
        results[str(layout)] = {name: case(mesh) for name, case in CASES.items()}
    mesh = make_mesh(Layout(cp=4), torch.device("cpu"))
    for name in ("action", "views_of_transfer"):
        with Exchanges(4) as exchanges:
            CASES[name](mesh)
        results[f"exchanges of {name}"] = [list(call) for call in exchanges.calls]
    results["refusals"] = refusals(mesh)
    return results


def refusals(mesh: DeviceMesh) -> list[str]:
    def whole_table() -> None:
        net = placed(MinimalDiT(MinimalDiTConfig(num_blocks=1, **SIZE)), None)
        rope = net.rotary_table(GRID)
        placed(net, mesh)(noise(1, 16, T, H, W), noise(1, 1), noise(1, 5, 24), rope=rope)

    def table_of_another_grid() -> None:  # of which each rank holds as much
        net = placed(MinimalDiT(MinimalDiTConfig(num_blocks=1, **SIZE)), mesh)
        net(noise(1, 16, T, H, W), noise(1, 1), noise(1, 5, 24), rope=net.rotary_table((4, 4, 4)))

    def too_few_heads() -> None:
        placed(MinimalDiT(MinimalDiTConfig(num_blocks=1, **SIZE | {"num_heads": 2})), mesh)

    def wrong_mesh() -> None:
        make_mesh(Layout(cp=2), torch.device("cpu"))

    def three_halves() -> None:
        in_halves(lambda: noise(1), lambda: noise(1), axis_group(mesh, "cp"))

    messages = []
    for attempt in (whole_table, table_of_another_grid, too_few_heads, wrong_mesh, three_halves):
        with pytest.raises(ValueError) as refusal:
            attempt()
        messages.append(str(refusal.value))
    return messages


@pytest.fixture(scope="module")
def of_four(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of every process; one launch for all tests, because starting processes takes longest."""
    return run_together(4, everything, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_process_gets_the_video_that_one_alone_makes(
    of_four: list[dict[str, Any]], layout: Layout, name: str
) -> None:
    with torch.inference_mode():
        alone = CASES[name](None)
    videos = [results[str(layout)][name] for results in of_four]
    tolerance = 1e-5 * max(1.0, float(alone.std()))  # float32 rounding: other shapes, other orders of summation
    torch.testing.assert_close(videos[0], alone, atol=tolerance, rtol=0)
    assert all(torch.equal(video, videos[0]) for video in videos)


def test_guidance_in_halves_is_guidance(of_four: list[dict[str, Any]]) -> None:
    """Apart from where it is computed nothing changes, so not a bit does."""
    with torch.inference_mode():
        torch.set_num_threads(1)
        for name in ("transfer", "predict"):
            assert torch.equal(of_four[0]["dp=2,cfg=2"][name], CASES[name](None))


@pytest.mark.parametrize(
    ("name", "num_blocks", "batch"), [("action", 2, 1), ("views_of_transfer", 3, 2)], ids=lambda value: str(value)
)
def test_blocks_exchange_what_attention_needs_and_nothing_else(
    of_four: list[dict[str, Any]], name: str, num_blocks: int, batch: int
) -> None:
    num_ranks, itemsize, patch_numbers = 4, 4, 2 * 2 * 16
    tokens = batch * T * 4  # 15 patches of a frame are 4 for each rank
    out = tokens * WIDTH * (num_ranks - 1) // num_ranks * itemsize
    for results in of_four:
        *blocks, end = results[f"exchanges of {name}"]
        assert blocks == [["alltoall_base_", 3 * out], ["alltoall_base_", out]] * num_blocks
        assert end == ["allgather_", tokens * patch_numbers * (num_ranks - 1) * itemsize]


def test_what_cannot_be_computed_together_is_refused_before_anything_is_sent(of_four: list[dict[str, Any]]) -> None:
    for results in of_four:
        assert results["refusals"] == [
            "the rotary table holds 60 tokens, the latents 16",
            "the rotary table is a share of (4, 4, 4) tokens, the latents have (4, 5, 3)",
            "4 ranks do not divide 2 heads",
            "cp=2 is for 2 processes, and there are 4",
            "two halves for 4 processes",
        ]
