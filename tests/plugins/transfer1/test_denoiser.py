"""What the tiles of a picture share while they are denoised, and that sharing it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.models.control_branch import ControlBranch, ControlBranchConfig
from cosmos_cli.models.general_dit import GeneralDiT, GeneralDiTConfig
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, RegionTexts, SharedInputs, TiledDenoiser

SIZE: dict[str, Any] = {
    "model_channels": 48,
    "num_heads": 4,
    "crossattn_emb_channels": 24,
    "adaln_lora_dim": 8,
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 8,
    "condition_mask": True,
    "extra_per_block_abs_pos_emb": True,
}
NUM_TILES = 9
T, TILE, WHOLE = 2, 8, 20
GRID = (T, TILE // 2, TILE // 2)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_random_weights(net: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return net.eval()


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)


def storages(values: list[Any]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors_in(values)}


def test_nine_tiles_hold_one_set_of_texts_tables_and_positions(
    transfer: Callable[..., CommandResult], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[dict[str, Any]]] = {}

    def watch(network: type[nn.Module], method: str) -> None:
        original = getattr(network, method)

        def watched(self: Any, x: Tensor, timesteps: Tensor, text: Any, *arguments: Any, **options: Any) -> Any:
            # kept until the end, so that no other tensor comes to stand where one of them stood
            given = {"text": list(text.keys_values), "rope": options["rope"], "positions": options["positions_THWD"]}
            seen.setdefault(network.__name__, []).append(given)
            return original(self, x, timesteps, text, *arguments, **options)

        monkeypatch.setattr(network, method, watched)

    watch(GeneralDiT, "forward")
    watch(ControlBranch, "residuals")
    result = transfer({"upscale": {"control_weight": 0.5}, "input_video_path": str(clip)}, "--guidance", 3)
    assert result.exit_code == 0, result.stderr
    assert set(seen) == {"GeneralDiT", "ControlBranch"}
    for calls in seen.values():
        assert len(calls) % (2 * NUM_TILES) == 0
        [num_blocks] = {len(call["text"]) for call in calls}
        of_two_texts = 2 * 2 * num_blocks
        assert len(storages([call["text"] for call in calls])) == of_two_texts
        assert len(storages([call["rope"] for call in calls])) == 2
        assert len(storages([call["positions"] for call in calls])) == 1


def test_tiles_that_share_give_what_each_gives_on_its_own() -> None:
    base = with_random_weights(GeneralDiT(GeneralDiTConfig(num_blocks=3, **SIZE)), seed=0)
    config = ControlBranchConfig(num_blocks=2, **SIZE, hint_channels=16)
    everywhere, in_places, nowhere = (with_random_weights(ControlBranch(config), seed) for seed in (1, 2, 3))
    latents = [noise(NUM_TILES, 16, T, TILE, TILE, seed=seed).split(1) for seed in (4, 5, 6)]
    maps = [torch.full((1, 1, *GRID), 0.3 if tile % 2 else 0.0) for tile in range(NUM_TILES)]
    tiles = [
        [Hint(everywhere, first, 0.5), Hint(in_places, second, weight), Hint(nowhere, third, torch.zeros(1, 1, *GRID))]
        for *(first, second, third), weight in zip(*latents, maps, strict=True)
    ]
    given = noise(NUM_TILES, 16, T, TILE, TILE, seed=7).split(1)
    x = noise(NUM_TILES, 16, T, TILE, TILE, seed=8)

    def shared(hints: list[Hint]) -> SharedInputs:
        return SharedInputs.of(
            base,
            hints,
            (T, TILE, TILE),
            noise(1, 5, 24, seed=9),
            noise(1, 5, 24, seed=10),
            guidance=3.0,
            fps=24,
            regions=RegionTexts([noise(1, 3, 24, seed=11)], noise(1, 32, seed=12) > 0),
        )

    def denoised(of_tiles: list[SharedInputs]) -> Tensor:
        denoisers = [
            ControlledDenoiser(
                inputs, hints, conditioning=first_frames(frames, 1), noise_BCTHW=x[:1], dtype=torch.float32
            )
            for inputs, hints, frames in zip(of_tiles, tiles, given, strict=True)
        ]
        return TiledDenoiser(denoisers, WHOLE, WHOLE)(x * 5, torch.tensor(5.0))

    of_all = shared([hint for hints in tiles for hint in hints])
    assert set(of_all.of_networks) == {base, everywhere, in_places}
    with torch.inference_mode():
        together, apart = denoised([of_all] * NUM_TILES), denoised([shared(hints) for hints in tiles])
    assert torch.equal(together, apart)
