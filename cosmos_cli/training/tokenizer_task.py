"""Teaching a video tokenizer to give back what it is shown, through latents that networks can denoise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.media.frames import to_frames, to_video
from cosmos_cli.models.configs import TINY_COSMOS_TOKENIZER, TINY_WAN_VAE
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.tiny import random_weights
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.data.order import generator_of
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Loss, Where, learning
from cosmos_cli.training.tokenizer_start import start

# B batch, C latent channels, T latent frames, H and W latent height and width; F pixel frames

_SQUARES, _SIZE = 20.0, 0.002
"""Weights of squared errors of pixels in [-1, 1], beside absolute ones, and of squared latents."""


_FIRST_CLIPS = 40
"""A tokenizer's first weights are computed from."""

N = TypeVar("N", WanVAE, CosmosTokenizer)


class TokenizerTask:
    """See the module and `cosmos_cli.training.task.Task`.

    What the decoder reads has a little noise, of the draws' level, so that latents that lie near each other look alike;
    large latents cost something, so that the noise is not outgrown. Their mean and size over all clips are measured
    afterwards: held in every step, they could not tell of a clip that is red all over.
    """

    def __init__(self, tokenizer: WanVAE | CosmosTokenizer, channels: int, factor: int, device: torch.device) -> None:
        self._channels, self._factor, self._device = channels, factor, device
        self._num_latent_frames: Callable[[int], int] = tokenizer.num_latent_frames
        self.networks = nn.ModuleDict({"net": learning(tokenizer)})
        self.frozen: Sequence[nn.Module] = ()
        self.constants: Mapping[str, Tensor] = {}
        self.tokenizer: nn.Module | None = None  # what is made of a clip changes as it learns

    def encode(self, examples: Examples) -> Batch:
        """The clips themselves; where latents would be, zeros of their shape, for draws of chance."""
        clips = [to_video(frames.numpy(), self._device, torch.float32) for frames in examples.frames_BFHWC]
        video_BCFHW = torch.cat(clips)
        B, _, F, height, width = video_BCFHW.shape
        shape = B, self._channels, self._num_latent_frames(F), height // self._factor, width // self._factor
        places = torch.zeros(shape, device=self._device)
        return Batch(places, examples.text_BLC.to(self._device), examples.fps, extras={"video": video_BCFHW})

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """See `cosmos_cli.training.task.Task`."""
        video_BCFHW = batch.extras["video"]
        noise_BCTHW = draws.noise_BCTHW * draws.sigma_B[:, None, None, None, None]
        again_BCFHW, latents_BCTHW = self.networks["net"](video_BCFHW, noise_BCTHW)
        error_BCFHW = again_BCFHW.float() - video_BCFHW
        square, absolute = error_BCFHW.square().mean(), error_BCFHW.abs().mean()
        size = latents_BCTHW.float().square().mean()
        parts = {"psnr": -10 * (square.detach() / 4).log10(), "size": size.detach()}
        total = _SQUARES * square + absolute + _SIZE * size
        return Loss(total, parts, latents_BCTHW.detach())

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """A tokenizer shares nothing: ranks that could share a clip read all of it each."""

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip, and beside it what comes back."""
        video_BCFHW = batch.extras["video"][:1]
        again_BCFHW, _ = self.networks["net"](video_BCFHW)
        return [torch.cat([torch.from_numpy(to_frames(each)) for each in (video_BCFHW, again_BCFHW)], dim=2)]


def wan(recipe: Recipe, where: Where) -> TokenizerTask:
    """The task of a recipe for the tokenizer of Predict2; see `cosmos_cli.training.task.BuildTask`."""
    config = TINY_WAN_VAE
    network = _network(recipe, where, lambda: WanVAE(config))
    return TokenizerTask(network, config.z_dim, config.spatial_factor, where.device)


def cosmos(recipe: Recipe, where: Where) -> TokenizerTask:
    """The task of a recipe for the tokenizer of the other families; see `cosmos_cli.training.task.BuildTask`."""
    config = TINY_COSMOS_TOKENIZER
    network = _network(recipe, where, lambda: CosmosTokenizer(config))
    return TokenizerTask(network, config.latent_channels, config.spatial_compression, where.device)


def _network(recipe: Recipe, where: Where, build: Callable[[], N]) -> N:
    """Where no weights are named to begin with, those of `tokenizer_start` for the first clips of the recipe."""
    path = recipe.checkpoint.load_path
    if path:
        return load_network(build, where.checkpoint_dir / path, naming=PUBLISHED)
    torch.manual_seed(recipe.trainer.seed)
    network = build()
    network.load_state_dict({name: weight.float() for name, weight in random_weights(network).items()}, strict=False)
    clips = open_dataset(recipe)
    numbers = range(min(len(clips), _FIRST_CLIPS))
    frames = [clips.example(number, generator_of(recipe.trainer.seed, number)).frames_FHWC for number in numbers]
    start(network, torch.cat([to_video(each.numpy(), torch.device("cpu"), torch.float32) for each in frames]))
    return network
