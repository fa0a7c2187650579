"""The memory that is planned for is the memory that the published networks take, held against fake tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.generation.settings import DIT, TOKENIZER
from cosmos_cli.generation.work import Networks, Rig, Work, memory_stages
from cosmos_cli.models import dit_layers
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.costs import cost_of, tokenizer_cost_of
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict2.denoise import guided_by_texts
from cosmos_plugins.predict2.variants import MULTIVIEW
from cosmos_plugins.predict2.variants import VARIANTS as PREDICT2
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, SharedInputs, TiledDenoiser
from cosmos_plugins.transfer1.multiview.variants import MULTIVIEW_VARIANTS
from cosmos_plugins.transfer1.variants import NUM_STATES
from cosmos_plugins.transfer1.variants import VARIANTS as TRANSFER
from tests.fake_memory import PeakBytes, unfilled

DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)


class Levels(list[float]):
    """Noise levels that are there, though no tensor has content."""

    def tolist(self) -> list[float]:
        return list(self)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without content: what looks at content, or chooses a kernel, is told what it would find."""
    monkeypatch.setattr(dit_layers, "attention", lambda q, k, v, backend: torch.empty(q.shape, dtype=q.dtype))
    monkeypatch.setattr(dit_layers, "_single_fps", lambda fps: float(fps))
    monkeypatch.setattr(edm, "free_below", lambda conditioning, *_: conditioning)
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        yield


def rig(dtype: torch.dtype) -> Rig:
    return Rig(dtype.itemsize)


def peak_of(networks: list[Any], run: Callable[[], object]) -> int:
    with PeakBytes(networks) as counted:
        run()
    return counted.peak


def texts(dtype: torch.dtype, *sizes: int) -> tuple[Tensor, Tensor]:
    return torch.empty(1, *sizes, 1024, dtype=dtype), torch.empty(1, *sizes, 1024, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("kind", ["2B", "14B", "seven cameras"])
@pytest.mark.slow
def test_a_step_of_predict2_takes_what_is_planned(kind: str, dtype: torch.dtype) -> None:
    cameras = kind == "seven cameras"
    config = MULTIVIEW["2B"].dit if cameras else PREDICT2[kind].dit
    network = unfilled(lambda: (MinimalMultiviewDiT if cameras else MinimalDiT)(config), dtype)
    num_views, num_frames = (7, 29) if cameras else (1, 93)
    work = Work(
        Networks(cost_of(config), tokenizer_cost_of(PREDICT2["2B"].vae)),
        clip_px=(num_frames, 704, 1280),
        num_passes=72,
        num_clips=num_views,
        num_contexts=2,
    )
    latents = torch.empty(1, 16, *work.latents_THW)

    def step() -> Tensor:
        both = texts(dtype, *([7] if cameras else []), 512)
        fps = 10 if cameras else None
        denoiser = guided_by_texts(network, *both, first_frames(latents, 1), guidance=7.0, dtype=dtype, fps=fps)
        return denoiser(torch.empty_like(latents), torch.empty(()))

    planned = work.working_bytes(rig(dtype))[DIT]
    assert planned == pytest.approx(peak_of([network], step), rel=0.1)


@pytest.mark.parametrize(
    ("num_controls", "num_tiles", "dtype"),
    [
        (0, 1, torch.bfloat16),
        (1, 1, torch.bfloat16),
        (1, 1, torch.float32),
        (4, 1, torch.bfloat16),
        (1, 9, torch.bfloat16),
    ],
)
@pytest.mark.slow
def test_a_step_of_transfer_takes_what_is_planned(num_controls: int, num_tiles: int, dtype: torch.dtype) -> None:
    variant = TRANSFER["7B"]
    base = unfilled(lambda: GeneralDiT(variant.base(driving=False)), dtype)
    branches = [unfilled(lambda: ControlBranch(variant.branch(driving=False)), dtype) for _ in range(num_controls)]
    costs = {Path(str(number)): cost_of(branch.config) for number, branch in enumerate(branches)}
    work = Work(
        Networks(cost_of(base.config), tokenizer_cost_of(variant.tokenizer), costs),
        clip_px=(121, 704, 1280),
        num_passes=72,
        num_tiles=num_tiles,
        num_contexts=2 if num_tiles == 1 else 1,
        num_states=NUM_STATES,
    )
    size, compute = work.latents_THW, {"dtype": dtype}

    def step() -> Tensor:
        hints = [[Hint(branch, torch.empty(1, 16, *size, **compute), 0.5) for branch in branches]] * num_tiles
        hints = [[hint._replace(latents_BCTHW=torch.empty(1, 16, *size, **compute)) for hint in tile] for tile in hints]
        every = [hint for tile in hints for hint in tile]
        guidance = 7.0 if num_tiles == 1 else 0.0  # so many tiles take long enough with one text
        shared = SharedInputs.of(base, every, size, *texts(dtype, 512), guidance=guidance, fps=24)
        noise = torch.empty(1, 16, *size)
        given = first_frames(torch.empty(1, 16, *size, **compute), 1)
        tiles = [ControlledDenoiser(shared, tile, conditioning=given, noise_BCTHW=noise, **compute) for tile in hints]
        if num_tiles == 1:
            return tiles[0](noise.to(dtype), torch.empty(()))
        # the sampler's own state counts for as many tiles
        whole = TiledDenoiser(tiles, 3 * size[1] - 64, 3 * size[2] - 64)
        return sample_res(whole, torch.empty(num_tiles, 16, *size, **compute), Levels([70.0, 0.002]))

    planned = work.working_bytes(rig(dtype))[DIT]
    assert planned == pytest.approx(peak_of([base, *branches], step), rel=0.1)


@DTYPES
@pytest.mark.slow
def test_a_step_for_six_cameras_takes_what_is_planned(dtype: torch.dtype) -> None:
    variant, num_views = MULTIVIEW_VARIANTS["7B"], 6
    base = unfilled(lambda: MultiViewDiT(variant.base(num_views)), dtype)
    branch = unfilled(lambda: MultiViewControlBranch(variant.branch(num_views)), dtype)
    work = Work(
        Networks(
            cost_of(base.config), tokenizer_cost_of(TRANSFER["7B"].tokenizer), {Path("a"): cost_of(branch.config)}
        ),
        clip_px=(57, variant.height, variant.width),
        num_passes=72,
        num_clips=num_views,
        num_contexts=2,
        num_states=NUM_STATES,
    )
    size = work.latents_THW

    def step() -> Tensor:
        hint = Hint(branch, torch.empty(1, 16, *size, dtype=dtype), 1.0)
        views = torch.empty(num_views, dtype=torch.long)
        both = texts(dtype, num_views * 512)
        shared = SharedInputs.of(base, [hint], size, *both, guidance=5.0, fps=24, view_indices_V=views)
        noise, given = torch.empty(1, 16, *size), first_frames(torch.empty(1, 16, *size, dtype=dtype), 1)
        denoiser = ControlledDenoiser(
            shared, [hint], conditioning=given, noise_BCTHW=noise, sigma_augment=0.0, dtype=dtype
        )
        return denoiser(noise, torch.empty(()))

    planned = work.working_bytes(rig(dtype))[DIT]
    assert planned == pytest.approx(peak_of([base, branch], step), rel=0.1)


@pytest.mark.slow
def test_the_tokenizers_take_what_is_planned() -> None:
    dtype = torch.bfloat16
    wan, cosmos = PREDICT2["2B"].vae, TRANSFER["7B"].tokenizer
    for config, network, num_frames in (
        (wan, unfilled(lambda: WanVAE(wan), dtype), 93),
        (cosmos, unfilled(lambda: CosmosTokenizer(cosmos), dtype), 121),
    ):
        networks = Networks(cost_of(PREDICT2["2B"].dit), tokenizer_cost_of(config))
        work = Work(networks, clip_px=(num_frames, 704, 1280), num_passes=1)
        latents = torch.empty(1, 16, *work.clip_latents, dtype=dtype)

        def decode(network: Any = network, latents: Tensor = latents) -> None:
            chunks = network.decode_chunks(latents) if hasattr(network, "decode_chunks") else [network.decode(latents)]
            for chunk in chunks:
                del chunk

        planned = work.working_bytes(rig(dtype))[TOKENIZER]
        assert planned == pytest.approx(peak_of([network], decode), rel=0.1)


def test_weights_of_all_branches_and_the_most_work_count_for_a_batch() -> None:
    variant = TRANSFER["7B"]
    branch = cost_of(variant.branch(driving=False))

    def work(*files: str, num_tiles: int = 1) -> Work:
        networks = Networks(
            cost_of(variant.base(driving=False)),
            tokenizer_cost_of(variant.tokenizer),
            {Path(file): branch for file in files},
        )
        return Work(networks, clip_px=(121, 704, 1280), num_passes=72, num_tiles=num_tiles)

    one, other, large = work("edge.pt"), work("vis.pt", "edge.pt"), work("up.pt", num_tiles=9)
    [_, dit] = memory_stages([one, other, large], Rig(2))
    assert len(dit.networks) == 1 + 3
    assert dit.working_bytes == max(each.working_bytes(Rig(2))[DIT] for each in (one, other, large))
    refined = replace(other, networks=replace(other.networks, refiner_bytes=25))
    assert [stage.weight_bytes for stage in memory_stages([large, refined], Rig(2))][2:] == [25]  # upscaling has none


def test_processes_that_share_tokens_need_less_each_but_hold_whole_texts() -> None:
    config = PREDICT2["14B"].dit
    networks = Networks(cost_of(config), tokenizer_cost_of(PREDICT2["14B"].vae))
    work = Work(networks, clip_px=(93, 704, 1280), num_passes=72, num_contexts=2)
    alone, shared = ({part.name: part.num_bytes for part in work.working_parts(Rig(2, cp=cp))} for cp in (1, 8))
    assert shared["texts"] == alone["texts"]
    assert shared["activations"] < alone["activations"] / 5
