from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer, LatentStatistics
from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.cosmos_tokenizer_files import STORED_CONSTANTS, load_tokenizer, read_statistics
from cosmos_cli.models.cosmos_tokenizer_layers import haar_patches, haar_pixels
from tests.models.test_wan_vae import LiveBytes

GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizer"
TINY = CosmosTokenizerConfig(channels=4)


def read(name: str) -> dict[str, Tensor]:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a safetensors file is no dict


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return read("cosmos_cv8x8x8")


@pytest.fixture(scope="module")
def weights(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """The whole content of a published file."""
    return {key.removeprefix("weights."): value for key, value in golden.items() if key.startswith("weights.")}


def network_with(weights: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> CosmosTokenizer:
    with torch.device("meta"):
        network = CosmosTokenizer(TINY)
    learnt = {key: value.to(dtype) for key, value in weights.items() if key not in STORED_CONSTANTS}
    network.load_state_dict(learnt, assign=True)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def network(weights: dict[str, Tensor]) -> CosmosTokenizer:
    return network_with(weights)


@pytest.fixture(scope="module")
def statistics() -> LatentStatistics:
    wrapper = read("cosmos_mean_std_wrapper")
    return LatentStatistics(wrapper["in.mean"], wrapper["in.std"])


@pytest.fixture(scope="module")
def chunked(network: CosmosTokenizer, statistics: LatentStatistics) -> ChunkedTokenizer:
    """Chunks of 9 frames, 2 latent frames."""
    return ChunkedTokenizer(network, statistics, chunk_frames=9)


def random_video(num_frames: int, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, num_frames, 16, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Up to float32 rounding through some thirty layers."""
    torch.testing.assert_close(actual, expected, atol=2e-5 * max(1.0, expected.std().item()), rtol=0)


@pytest.mark.parametrize("latents_per_step", [1, 2, 3])
def test_the_size_of_a_step_changes_nothing(network, golden, latents_per_step):
    assert_same(network.encode(golden["in.video"], latents_per_step), golden["out.encode.T17"])
    assert_same(network.decode(golden["in.latent"], latents_per_step), golden["out.decode.L3"])


def test_clips_of_a_batch_do_not_mix(network, golden):
    videos, latents = (torch.cat([x, -x]) for x in (golden["in.video"], golden["in.latent"]))
    assert_same(network.encode(videos, 2), torch.cat([network.encode(clip, 2) for clip in videos.split(1)]))
    assert_same(network.decode(latents, 2), torch.cat([network.decode(clip, 2) for clip in latents.split(1)]))


def test_later_frames_leave_earlier_latents_and_frames_bit_identical(network, golden):
    video, latents = golden["in.video"].clone(), golden["in.latent"].clone()
    latents_before, video_before = network.encode(video), network.decode(latents)
    video[:, :, 9:] = 0
    latents[:, :, 2:] = 0
    assert torch.equal(network.encode(video)[:, :, :2], latents_before[:, :, :2])
    assert torch.equal(network.decode(latents)[:, :, :9], video_before[:, :, :9])


@pytest.mark.parametrize(("spatial", "temporal"), [(8, 4), (8, 8), (16, 8)])
def test_the_other_published_compressions_keep_their_frame_counts_and_steps(spatial, temporal):
    torch.manual_seed(0)
    config = CosmosTokenizerConfig(
        channels=2, num_res_blocks=1, spatial_compression=spatial, temporal_compression=temporal
    )
    network = CosmosTokenizer(config).requires_grad_(False)
    video = torch.rand(1, 3, 1 + 2 * temporal, 2 * spatial, spatial)
    latents = network.encode(video)
    assert latents.shape == (1, 16, 3, 2, 1)
    torch.testing.assert_close(network.encode(video, 2), latents, atol=1e-5, rtol=0)
    decoded = network.decode(latents)
    assert decoded.shape == video.shape
    torch.testing.assert_close(network.decode(latents, 2), decoded, atol=1e-5, rtol=0)


def test_haar_patches_are_signed_means_of_cubes_and_come_back():
    video = random_video(8)
    bands = haar_patches(video, 2)
    cubes = video.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # B C T 2 H 2 W 2
    torch.testing.assert_close(bands[:, :3], cubes.mean(dim=(3, 5, 7)))
    signs = torch.tensor([1.0, -1.0])
    low_low_high = (cubes * signs).mean(dim=(3, 5, 7))
    torch.testing.assert_close(bands[:, 3:6], low_low_high)
    torch.testing.assert_close(haar_pixels(haar_patches(video, 4), 4), video)
    assert haar_patches(video, 4).shape == (1, 192, 2, 4, 6)


def test_bfloat16_wavelets_round_like_the_originals_filters():
    video = random_video(8).bfloat16()[:, :1]
    tap = torch.tensor(0.5).sqrt().bfloat16()  # 0.70703125
    bands = video
    for kernel in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):  # time first, each filter rounding its output once
        num_bands = bands.shape[1]
        filters = torch.stack([torch.stack([tap, tap]), torch.stack([tap, -tap])]).view(2, 1, *kernel)
        bands = F.conv3d(bands, filters.repeat(num_bands, 1, 1, 1, 1), stride=kernel, groups=num_bands)
    assert torch.equal(haar_patches(video, 2), bands / 8**0.5)


def test_bfloat16_stays_close_to_float32(weights, golden):
    half = network_with(weights, torch.bfloat16)
    latents, video = half.encode(golden["in.video"]), half.decode(golden["in.latent"])
    assert latents.dtype == video.dtype == torch.bfloat16
    for actual, expected in ((latents, golden["out.encode.T17"]), (video, golden["out.decode.L3"])):
        # Root mean square: with channels this few, single values round badly.
        assert (actual - expected).square().mean().sqrt() < 0.03 * expected.std()


def test_chunks_are_coded_each_on_its_own(chunked):
    video = random_video(27)
    latents = chunked.encode(video)
    assert latents.shape[2] == 6
    assert torch.equal(latents, torch.cat([chunked.encode(chunk) for chunk in video.split(9, dim=2)], dim=2))
    decoded = chunked.decode(latents)
    assert torch.equal(decoded, torch.cat([chunked.decode(chunk) for chunk in latents.split(2, dim=2)], dim=2))


@pytest.mark.parametrize("lengths", [[27], [9, 9, 9], [1, 3, 20, 1, 2], [26, 1]])
def test_a_video_may_arrive_in_pieces_of_any_length(chunked, lengths):
    video = random_video(27)
    pieces = (piece for piece in video.split(lengths, dim=2))
    assert torch.equal(torch.cat(list(chunked.encode_chunks(pieces)), dim=2), chunked.encode(video))


def test_normalised_latents_have_the_deviation_asked_for_and_their_own_statistics_per_frame(network, statistics):
    scaled = ChunkedTokenizer(network, statistics, chunk_frames=9, sigma_data=0.5)
    clip = random_video(9)
    latents = network.encode(clip)
    mean, std = (values[:, :2, None, None] for values in (statistics.mean_CT, statistics.std_CT))
    torch.testing.assert_close(scaled.encode(clip), (latents - mean) / std * 0.5)
    torch.testing.assert_close(scaled.denormalise(scaled.normalise(latents)), latents)
    torch.testing.assert_close(scaled.normalise(latents[:, :, 1:], first=1), scaled.normalise(latents)[:, :, 1:])


def test_with_bfloat16_weights_statistics_are_rounded_but_float32_latents_stay_float32(weights, statistics):
    chunked = ChunkedTokenizer(network_with(weights, torch.bfloat16), statistics, chunk_frames=9)
    offset = chunked.denormalise(torch.zeros(1, 16, 2, 1, 1))[0, :, :, 0, 0]
    assert torch.equal(offset, statistics.mean_CT[:, :2].bfloat16().float())
    assert chunked.encode(random_video(9)).dtype == torch.float32
    assert chunked.decode(torch.zeros(1, 16, 2, 2, 3)).dtype == torch.float32
    assert chunked.encode(random_video(9).bfloat16()).dtype == torch.bfloat16


def test_frame_counts(chunked, network):
    assert [network.num_latent_frames(n) for n in (1, 9, 57, 121)] == [1, 2, 8, 16]
    assert [network.num_frames(n) for n in (1, 2, 8, 16)] == [1, 9, 57, 121]
    assert [chunked.num_latent_frames(n) for n in (1, 9, 18)] == [1, 2, 4]
    assert [chunked.num_frames(n) for n in (1, 2, 4)] == [1, 9, 18]
    for count in (0, 8, 10):
        with pytest.raises(ValueError, match="frames"):
            chunked.num_latent_frames(count)
        with pytest.raises(ValueError, match="frames"):
            network.num_latent_frames(count)
    with pytest.raises(ValueError, match="latent frames"):
        chunked.num_frames(3)


@pytest.mark.parametrize(
    "shape", [(3, 9, 16, 24), (1, 4, 9, 16, 24), (1, 3, 9, 12, 24), (1, 3, 10, 16, 24), (1, 3, 0, 16, 24)]
)
def test_encode_refuses_what_it_cannot_represent(chunked, network, shape):
    for tokenizer in (chunked, network):
        with pytest.raises(ValueError, match=r"video has shape|frames"):
            tokenizer.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"video has shape|frames|no "):
        list(chunked.encode_chunks([torch.zeros(shape)]))


@pytest.mark.parametrize("shape", [(16, 2, 2, 3), (1, 8, 2, 2, 3), (1, 16, 3, 2, 3), (1, 16, 0, 2, 3)])
def test_decode_refuses_what_are_no_latents(chunked, shape):
    with pytest.raises(ValueError, match="latent"):
        chunked.decode(torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch_size": 3},
        {"spatial_compression": 4, "temporal_compression": 8},
        {"spatial_compression": 64},
        {"temporal_compression": 2},
        {"spatial_compression": 16, "temporal_compression": 16},
    ],
)
def test_a_config_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(ValueError, match=r"powers of 2|patch_size|too few"):
        CosmosTokenizerConfig(**wrong)


def test_statistics_must_cover_the_chunk(network, statistics):
    with pytest.raises(ValueError, match="at least 16"):
        short = LatentStatistics(statistics.mean_CT[:, :8], statistics.std_CT[:, :8])
        ChunkedTokenizer(network, short)


def peak_bytes(chunks: Iterator[Tensor]) -> int:
    with LiveBytes() as memory:
        for chunk in chunks:
            del chunk
    assert memory.live == 0
    return memory.peak


def test_memory_does_not_grow_with_the_length_of_the_video(chunked):
    latents = torch.zeros(1, 16, 8, 2, 3)
    short, long = (peak_bytes(chunked.decode_chunks(latents[:, :, :length])) for length in (4, 8))
    assert 0 < long <= short
    frame = torch.zeros(1, 3, 1, 16, 24)
    short, long = (peak_bytes(chunked.encode_chunks([frame] * length)) for length in (18, 45))
    assert 0 < long <= short


def test_no_graph_is_built_and_the_callers_grad_mode_survives(weights, golden):
    network = network_with(weights).requires_grad_(True)
    assert not network.encode(golden["in.video"]).requires_grad
    for chunk in network.decode_steps(golden["in.latent"]):
        assert torch.is_grad_enabled()
        assert not chunk.requires_grad


# ---- published files


class Holder(nn.Module):
    """A module tree that holds given tensors under given names, so that torch.jit saves them under these."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        children: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, _, rest = key.partition(".")
            if rest:
                children.setdefault(name, {})[rest] = tensor
            else:
                self.register_buffer(name, tensor)
        for name, inner in children.items():
            self.add_module(name, Holder(inner))

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_jit(tensors: dict[str, Tensor], path: Path) -> None:
    torch.jit.trace(Holder(tensors), torch.ones(1)).save(path)


def part(weights: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key.startswith(prefixes)}


def write_autoencoder(weights: dict[str, Tensor], folder: Path) -> None:
    save_jit(weights, folder / "autoencoder.jit")


def write_halves(weights: dict[str, Tensor], folder: Path) -> None:
    save_jit(part(weights, "encoder.", "quant_conv."), folder / "encoder.jit")
    save_jit(part(weights, "decoder.", "post_quant_conv."), folder / "decoder.jit")


def write_state_dict(weights: dict[str, Tensor], folder: Path) -> None:
    torch.save(weights, folder / "tokenizer.pt")


def write_training_checkpoint(weights: dict[str, Tensor], folder: Path) -> None:
    averaged = {f"ema.network-{key.replace('.', '-')}": value + 1 for key, value in weights.items()}
    torch.save({"model": {f"network.{key}": value for key, value in weights.items()} | averaged}, folder / "model.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
@pytest.mark.parametrize("write", [write_autoencoder, write_halves, write_state_dict, write_training_checkpoint])
def test_every_published_file_gives_the_same_network(write, weights, network, golden, tmp_path):
    inactive = {"encoder.down.1.downsample.conv3.conv3d.bias", "decoder.up.2.upsample.conv3.conv3d.bias"}
    write(weights | {key: torch.ones(16) for key in inactive}, tmp_path)
    loaded = load_tokenizer(tmp_path, config=TINY)
    assert torch.equal(loaded.encode(golden["in.video"]), network.encode(golden["in.video"]))
    assert load_tokenizer(tmp_path, config=TINY, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_half_a_folder_and_another_network_are_refused(weights, tmp_path):
    write_halves(weights, tmp_path)
    (tmp_path / "decoder.jit").unlink()
    with pytest.raises(CheckpointError, match=r"decoder.jit does not exist"):
        load_tokenizer(tmp_path, config=TINY)
    with pytest.raises(CheckpointError, match=r"missing|another network"):
        load_tokenizer(tmp_path / "encoder.jit", config=TINY)


def test_statistics_are_read_channel_by_channel(tmp_path):
    values = torch.arange(1, 257.0)
    torch.save((values, values * 2), tmp_path / "mean_std.pt")
    statistics = read_statistics(tmp_path / "mean_std.pt")
    assert statistics.mean_CT.shape == (16, 16)
    assert statistics.mean_CT[1, 0] == 17
    assert statistics.std_CT[0, 1] == 4


@pytest.mark.parametrize(
    "content",
    [
        {"mean": torch.ones(256)},
        (torch.ones(256),),
        (torch.ones(256), torch.ones(240)),
        (torch.ones(100), torch.ones(100)),
        (torch.ones(256), torch.zeros(256)),
        (torch.full((256,), float("nan")), torch.ones(256)),
        (torch.ones(256), "std"),
    ],
)
def test_what_are_no_statistics_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "mean_std.pt")
    with pytest.raises(CheckpointError, match=r"mean_std.pt"):
        read_statistics(tmp_path / "mean_std.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_statistics(tmp_path / "absent.pt")
