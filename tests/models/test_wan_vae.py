from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cosmos_cli.models.configs import WanVAEConfig
from cosmos_cli.models.wan_vae import WanVAE

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with safe_open(GOLDEN / "tokenizer" / "wan21_vae.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a safetensors file is no dict


@pytest.fixture(scope="module")
def vae(golden: dict[str, Tensor]) -> WanVAE:
    with torch.device("meta"):
        vae = WanVAE(WanVAEConfig(dim=4))
    weights = {key.removeprefix("weights."): value for key, value in golden.items() if key.startswith("weights.")}
    vae.load_state_dict(weights, assign=True)
    return vae


def assert_golden(actual: Tensor, expected: Tensor) -> None:
    # Measured: 4e-6 at a standard deviation of 0.6; float32 rounding through some thirty layers.
    torch.testing.assert_close(actual, expected, atol=2e-5 * max(1.0, expected.std().item()), rtol=0)


@pytest.mark.parametrize(
    ("case", "num_frames"), [("T1", 1), ("T5", 5), ("T8_leftover", 8), ("T9", 9), ("T17", 17)], ids=lambda value: value
)
def test_encode_reproduces_the_original(vae, golden, case, num_frames):
    assert_golden(vae.encode(golden["in.video"][:, :, :num_frames]), golden[f"out.encode.{case}"])


def test_encode_in_chunks_of_four_reproduces_the_original(vae, golden):
    assert_golden(vae.encode(golden["in.video"], chunk_frames=4), golden["out.encode_window4.T17"])


def test_denormalised_latents_are_the_means_of_the_original(vae, golden):
    latents = vae.denormalise(vae.encode(golden["in.video"][:, :, :9]))
    assert_golden(latents, golden["out.encode_unnormalised.T9"])


@pytest.mark.parametrize("num_latents", [1, 2, 3, 5])
@pytest.mark.parametrize("chunk_latents", [1, 2, 3])
def test_decode_reproduces_the_original(vae, golden, num_latents, chunk_latents):
    video = vae.decode(golden["in.latent"][:, :, :num_latents], chunk_latents)
    assert video.shape[2] == vae.num_frames(num_latents)
    if num_latents == 5:
        video = video[:, :, ::2]  # the file keeps every second frame
    assert_golden(video, golden[f"out.decode.L{num_latents}"])


def test_parameters_are_those_of_the_published_file():
    manifest = json.loads((GOLDEN / "manifests" / "vae_wan2.1.json").read_text())
    with torch.device("meta"):
        vae = WanVAE(WanVAEConfig())
    assert {key: list(value.shape) for key, value in vae.state_dict().items()} == {
        key: entry["shape"] for key, entry in manifest.items()
    }
    assert not list(vae.buffers())


def test_a_clip_may_arrive_in_pieces_of_any_length(vae, golden):
    video = golden["in.video"]
    pieces = (piece for piece in video.split([3, 1, 6, 2, 5], dim=2))
    latents = torch.cat(list(vae.encode_chunks(pieces, chunk_frames=8)), dim=2)
    torch.testing.assert_close(latents, vae.encode(video), atol=1e-5, rtol=0)


def test_later_frames_leave_earlier_latents_and_frames_bit_identical(vae, golden):
    video, latents = golden["in.video"].clone(), golden["in.latent"].clone()
    latents_before, video_before = vae.encode(video), vae.decode(latents)
    video[:, :, 5:] = 0
    latents[:, :, 2:] = 0
    latents_after, video_after = vae.encode(video), vae.decode(latents)
    assert torch.equal(latents_after[:, :, :2], latents_before[:, :, :2])
    assert not torch.equal(latents_after[:, :, 2:], latents_before[:, :, 2:])
    assert torch.equal(video_after[:, :, :5], video_before[:, :, :5])
    assert not torch.equal(video_after[:, :, 5:], video_before[:, :, 5:])


def test_clips_of_a_batch_do_not_mix(vae, golden):
    video, latents = golden["in.video"], golden["in.latent"]
    videos, batch_latents = torch.cat([video, video.flip(2)]), torch.cat([latents, -latents])
    expected = torch.cat([vae.encode(clip) for clip in videos.split(1)])
    torch.testing.assert_close(vae.encode(videos), expected, atol=1e-5, rtol=0)
    expected = torch.cat([vae.decode(clip) for clip in batch_latents.split(1)])
    torch.testing.assert_close(vae.decode(batch_latents), expected, atol=1e-5, rtol=0)


def test_calls_that_take_turns_do_not_disturb_each_other(vae, golden):
    video, latents = golden["in.video"], golden["in.latent"]
    streams = [
        vae.decode_chunks(latents),
        vae.encode_chunks([video], chunk_frames=4),
        vae.decode_chunks(-latents[:, :, :3]),
        vae.encode_chunks([-video], chunk_frames=4),
    ]
    rounds = list(zip_longest(*streams))  # one chunk of each in turn, None where a stream has ended
    results = [torch.cat([c for c in chunks if c is not None], dim=2) for chunks in zip(*rounds, strict=True)]
    expected = [
        vae.decode(latents),
        vae.encode(video, chunk_frames=4),
        vae.decode(-latents[:, :, :3]),
        vae.encode(-video, chunk_frames=4),
    ]
    for result, alone in zip(results, expected, strict=True):
        assert torch.equal(result, alone)


def test_no_graph_is_built_and_the_callers_grad_mode_survives(vae, golden):
    vae.requires_grad_(True)
    try:
        for chunk in vae.decode_chunks(golden["in.latent"]):
            assert torch.is_grad_enabled()
            assert not chunk.requires_grad
        assert not vae.encode(golden["in.video"]).requires_grad
    finally:
        vae.requires_grad_(False)


def storages_of(tree: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made while it is active, views of older ones aside, and keeps their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {storage._cdata for storage in storages_of((args, kwargs))} | self.storages
        for storage in storages_of(result):
            if storage._cdata not in known:
                self.storages.add(storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())
        return result

    def forget(self, address: int, num_bytes: int) -> None:
        self.storages.discard(address)
        self.live -= num_bytes


def peak_bytes(chunks: Iterator[Tensor]) -> int:
    with LiveBytes() as memory:
        for chunk in chunks:
            del chunk
    assert memory.live == 0
    return memory.peak


def test_memory_does_not_grow_with_the_length_of_the_clip(vae):
    latents = torch.randn(1, 16, 9, 3, 4, generator=torch.Generator().manual_seed(0))
    short, long = (peak_bytes(vae.decode_chunks(latents[:, :, :length])) for length in (4, 9))
    assert 0 < long <= short
    frames = torch.zeros(1, 3, 1, 24, 32)
    short, long = (peak_bytes(vae.encode_chunks([frames] * length, chunk_frames=4)) for length in (13, 33))
    assert 0 < long <= short


def test_bfloat16_stays_close_to_float32_and_keeps_its_dtypes(vae, golden):
    with torch.device("meta"):
        half = WanVAE(WanVAEConfig(dim=4))
    half.load_state_dict({key: value.bfloat16() for key, value in vae.state_dict().items()}, assign=True)
    latents = half.encode(golden["in.video"])
    assert latents.dtype == torch.bfloat16
    video = half.decode(golden["in.latent"][:, :, :3])
    assert video.dtype == torch.float32
    for actual, expected in ((latents, golden["out.encode.T17"]), (video, golden["out.decode.L3"])):
        # Root mean square: with channels this few, single values round badly.
        assert (actual - expected).square().mean().sqrt() < 0.03 * expected.std()


def test_bfloat16_statistics_are_rounded_like_the_originals():
    with torch.device("meta"):
        vae = WanVAE(WanVAEConfig())
    zeros, ones = torch.zeros(1, 16, 1, 1, 1, dtype=torch.bfloat16), torch.ones(1, 16, 1, 1, 1, dtype=torch.bfloat16)
    mean = vae.denormalise(zeros)[0, :, 0, 0, 0]
    inverse_std = vae.normalise(vae.denormalise(zeros) + ones)[0, :, 0, 0, 0]
    assert mean[:4].tolist() == [-0.7578125, -0.70703125, -0.91015625, 0.107421875]
    assert inverse_std[2:6].tolist() == [0.4296875, 0.376953125, 0.8203125, 0.5625]


def test_frame_counts(vae):
    assert [vae.num_latent_frames(n) for n in (1, 4, 5, 8, 9, 93)] == [1, 1, 2, 2, 3, 24]
    assert [vae.num_frames(n) for n in (1, 2, 24)] == [1, 5, 93]
    assert (vae.spatial_factor, vae.temporal_factor) == (8, 4)


@pytest.mark.parametrize(
    ("shape", "chunk_frames"),
    [
        ((3, 5, 24, 32), 4),
        ((1, 4, 5, 24, 32), 4),
        ((1, 3, 5, 20, 32), 4),
        ((1, 3, 0, 24, 32), 4),
        ((1, 3, 5, 24, 32), 6),
    ],
)
def test_encode_refuses_what_it_cannot_represent(vae, shape, chunk_frames):
    with pytest.raises(ValueError, match=r"video has shape|no frames|chunk_frames"):
        vae.encode(torch.zeros(shape), chunk_frames)


@pytest.mark.parametrize(
    ("shape", "chunk_latents"), [((1, 16, 0, 3, 4), 1), ((1, 8, 2, 3, 4), 1), ((16, 2, 3, 4), 1), ((1, 16, 2, 3, 4), 0)]
)
def test_decode_refuses_what_are_no_latents(vae, shape, chunk_latents):
    with pytest.raises(ValueError, match=r"latents have shape|chunk_latents"):
        vae.decode(torch.zeros(shape), chunk_latents)
