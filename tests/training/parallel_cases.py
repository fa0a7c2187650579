"""Tiny tasks of every architecture, whose gradients ranks compute together and one process alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.configs import (
    ActionDiTConfig,
    ControlBranchConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewConfig,
)
from cosmos_cli.models.context_parallel import ParallelNetwork, parallelise
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.training.edm_task import EDMTask
from tests.parity.adapters import training_nemo
from tests.parity.golden import read_golden

SIZE: dict[str, Any] = {
    "model_channels": 48,
    "num_heads": 4,
    "crossattn_emb_channels": 24,
    "adaln_lora_dim": 8,
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 8,
}
# 5 x 3 patches per frame, which neither 2 nor 4 ranks divide
T, H, W = 4, 10, 6
NEMO = Path(__file__).parent.parent / "golden/nemo/edm_training_step.safetensors"


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomised(net: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return net


class TinyTask:
    """What the parallel room needs of a task: networks, and the loss of a clip, which is numbered."""

    def __init__(
        self, net: ParallelNetwork, predict: Callable[[TinyTask, int], Tensor], frozen: Sequence[nn.Module] = ()
    ) -> None:
        self.networks = nn.ModuleDict({"net": net, "logvar": randomised(nn.Linear(3, 1, bias=False))})
        self.frozen = frozen
        self.predict = predict

    def share_tokens(self, group: dist.ProcessGroup | None) -> None:
        for network in self.parts():
            parallelise(network, group)

    def parts(self) -> list[Any]:
        """The large networks."""
        return [self.networks["net"], *self.frozen]

    def loss(self, clip: int) -> Tensor:
        difference = self.predict(self, clip).float() - noise(1, 16, T, H, W, seed=100 + clip)
        log_variance = self.networks["logvar"](noise(3, seed=200 + clip))
        return (difference.square().mean() * (-log_variance).exp() + log_variance).sum()

    def input(self, clip: int) -> Tensor:
        trunk = self.networks["net"]
        return noise(1, 16, T, H, W, seed=clip).to(trunk.compute_dtype or next(trunk.parameters()).dtype)


def general() -> TinyTask:
    """One view, a learnt position embedding, augmented frames."""
    net = GeneralDiT(GeneralDiTConfig(num_blocks=2, **SIZE, add_augment_sigma_embedding=True))

    def predict(task: TinyTask, clip: int) -> Tensor:
        x = task.input(clip)
        return task.networks["net"](
            x,
            noise(1, seed=clip),
            noise(1, 5, 24, seed=clip).to(x),
            augment_timesteps_B=noise(1, seed=clip + 1),
            fps=24,
        )

    return TinyTask(randomised(net), predict)


def multiview() -> TinyTask:
    """Two views, each with its text."""
    config = MultiViewConfig(num_blocks=2, **SIZE | {"max_frames": 2, "n_views": 2, "view_condition_dim": 4})

    def predict(task: TinyTask, clip: int) -> Tensor:
        x = task.input(clip)
        return task.networks["net"](
            x,
            noise(1, seed=clip),
            noise(1, 2 * 5, 24, seed=clip).to(x),
            view_indices=torch.tensor([1, 0]),
            frame_repeat_BV=noise(1, 2).to(x),
            fps=24,
        )

    return TinyTask(randomised(MultiViewDiT(config)), predict)


def minimal() -> TinyTask:
    """A noise level per latent frame, and plain modulation."""
    config = MinimalDiTConfig(num_blocks=2, **SIZE, extra_per_block_abs_pos_emb=True)

    def predict(task: TinyTask, clip: int) -> Tensor:
        x = task.input(clip)
        return task.networks["net"](x, noise(1, T, seed=clip).sigmoid(), noise(1, 5, 24, seed=clip).to(x))

    return TinyTask(randomised(MinimalDiT(config)), predict)


def cameras() -> TinyTask:
    """Two cameras of the minimal network."""
    config = MinimalMultiviewDiTConfig(num_blocks=2, **SIZE, state_t=2, n_cameras_emb=4, view_condition_dim=3)

    def predict(task: TinyTask, clip: int) -> Tensor:
        x = task.input(clip)
        times, text = noise(1, T, seed=clip).sigmoid(), noise(1, 2, 5, 24, seed=clip)
        return task.networks["net"](x, times, text.to(x), view_indices_BV=torch.tensor([[2, 0]]), fps=10)

    return TinyTask(randomised(MinimalMultiviewDiT(config)), predict)


def action() -> TinyTask:
    config = ActionDiTConfig(num_blocks=2, **SIZE, action_dim=12)

    def predict(task: TinyTask, clip: int) -> Tensor:
        x = task.input(clip)
        times, text = noise(1, T, seed=clip).sigmoid(), noise(1, 5, 24, seed=clip)
        return task.networks["net"](x, times, text.to(x), noise(1, 3, 4, seed=clip))

    return TinyTask(randomised(ActionDiT(config)), predict)


def control() -> TinyTask:
    """A control branch over a frozen base."""
    base = randomised(GeneralDiT(GeneralDiTConfig(num_blocks=3, **SIZE)), seed=2).requires_grad_(False)
    branch = randomised(ControlBranch(ControlBranchConfig(num_blocks=2, **SIZE, hint_channels=32)))

    def predict(task: TinyTask, clip: int) -> Tensor:
        x = task.input(clip)
        given: dict[str, Any] = {
            "x_BCTHW": x,
            "timesteps_B": noise(1, seed=clip),
            "text": noise(1, 5, 24, seed=clip).to(x),
            "fps": 24,
        }
        residuals = task.networks["net"](**given, hint_BCTHW=noise(1, 16, T, H, W, seed=clip + 3).to(x))
        return task.frozen[0](**given, control_residuals=residuals)

    return TinyTask(branch, predict, [base])


def adapters() -> TinyTask:
    """Adapters of low rank, around layers that are cut either way and around one that is not."""
    import peft

    task = general()
    ends = ["to_q.0", "to_out.0", "layer1", "layer2", "adaLN_modulation.1"]
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=ends), task.networks["net"])
    generator = torch.Generator().manual_seed(5)
    for name, parameter in task.networks.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return task


class NemoTask(EDMTask):
    """The network and the step of NeMo whose true gradients are known, see the notes in the file."""

    def __init__(self) -> None:
        self.golden = read_golden(NEMO)
        super().__init__(training_nemo.LOSS, training_nemo.network(self.golden, "v2w").requires_grad_(True), None)

    def loss(self, clip: int) -> Tensor:  # type: ignore[override]
        return super().loss(*next(training_nemo.rows(self.golden, "v2w"))).total


TASKS: dict[str, Callable[[], Any]] = {
    task.__name__: task for task in (general, multiview, minimal, cameras, action, control, adapters)
}
TASKS["nemo"] = NemoTask
