import pytest
import torch

from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.rectified_flow import SIGMA_CONDITIONAL, denoise, first_frames


def test_the_true_velocity_gives_the_clean_latents_at_every_sigma() -> None:
    x0, noise = torch.randn(2, 1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for sigma in (80.0, 1.0, 0.002):
        denoised = denoise(
            lambda _x, _t: noise - x0,
            x0 + sigma * noise,
            torch.tensor(sigma),
            first_frames(torch.zeros_like(x0), 0),
            dtype=torch.float32,
        )
        torch.testing.assert_close(denoised, x0, atol=2e-5, rtol=0)


def test_given_frames_enter_clean_at_their_own_time_and_come_back_exactly() -> None:
    latents = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    seen = {}

    def velocity(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        seen.update(x=x, timesteps=timesteps)
        return torch.ones_like(x)

    x = torch.full_like(latents, 9.0)
    x0 = denoise(velocity, x, torch.tensor(4.0), first_frames(latents, 2), dtype=torch.float32)
    torch.testing.assert_close(seen["x"][:, :, :2], latents[:, :, :2], atol=0, rtol=0)
    torch.testing.assert_close(seen["x"][:, :, 2:], x[:, :, 2:] / 5, atol=1e-6, rtol=0)
    clean = SIGMA_CONDITIONAL / (1 + SIGMA_CONDITIONAL)
    torch.testing.assert_close(seen["timesteps"], torch.tensor([[clean, clean, 0.8]]), atol=1e-7, rtol=0)
    torch.testing.assert_close(x0[:, :, :2], latents[:, :, :2], atol=0, rtol=0)


def test_times_are_rounded_to_the_networks_dtype() -> None:
    seen = []
    for sigma in (68.3251, 58.1421):
        denoise(
            lambda x, t: seen.append(t) or x.float(),
            torch.zeros(1, 1, 1, 1, 1),
            torch.tensor(sigma),
            first_frames(torch.zeros(1, 1, 1, 1, 1), 0),
            dtype=torch.bfloat16,
        )
    # the published schedule's steps 1 and 2 are one and the same time to the network
    assert [t.item() for t in seen] == [0.984375, 0.984375]


def test_more_given_frames_than_the_clip_has_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="4 conditioning frames in a clip of 3"):
        first_frames(torch.zeros(1, 1, 3, 1, 1), 4)


def test_guidance_zero_is_the_prompt_alone_and_shapes_must_agree() -> None:
    cond, uncond = torch.tensor([3.0]), torch.tensor([1.0])
    assert guide(cond, uncond, 0).item() == 3
    assert guide(cond, uncond, 7).item() == 17
    with pytest.raises(ValueError, match="shape"):
        guide(cond, torch.zeros(2), 7)
