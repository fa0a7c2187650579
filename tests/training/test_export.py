"""What a training leaves for inference is what inference reads."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import DiskFull
from cosmos_cli.training.background import Background
from cosmos_cli.training.export import adapter_path, export, export_adapter, export_path
from cosmos_cli.training.recipe import LoRARecipe
from tests.processes import run_together
from tests.training.test_checkpoints import Run

CONSTANTS = {"net.pos_embedder.seq": torch.arange(4, dtype=torch.float32)}


def read(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)


def test_both_files_are_flat_and_in_their_dtypes_and_read_everywhere(tmp_path: Path) -> None:
    run = Run()
    run.step(0)
    wrapped = nn.ModuleDict({"net": nn.Sequential()})
    wrapped["net"] = torch.compile(run.networks["net"], backend="eager")  # `_orig_mod.` in every name
    export(tmp_path, 200, wrapped, run.ema, CONSTANTS)
    want = dict(run.networks.state_dict())
    for kind, dtype, of in (("reg", torch.bfloat16, want), ("ema", torch.float32, run.ema)):
        path = export_path(tmp_path, 200, kind)
        assert path.name == f"iter_000000200_{kind}_model.pt"
        content = read(path)
        assert content.keys() == want.keys() | CONSTANTS.keys()
        for name in want:
            is_counted = not want[name].is_floating_point()
            assert torch.equal(content[name], of[name] if is_counted else of[name].to(dtype)), name
        assert torch.equal(content["net.pos_embedder.seq"], CONSTANTS["net.pos_embedder.seq"])
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.keys() == content.keys()
            assert all(torch.equal(checkpoint.tensor(name), content[name]) for name in content)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "here") == [
        "iter_000000200_ema_model.pt",
        "iter_000000200_reg_model.pt",
    ]


def test_what_is_written_in_the_background_is_of_the_step_that_asked(tmp_path: Path) -> None:
    run, background = Run(), Background()
    want = run.networks["net"].scale.detach().clone()
    export(tmp_path, 1, run.networks, run.ema, background=background)
    run.step(0)
    background.wait()
    assert torch.equal(read(export_path(tmp_path, 1, "ema"))["net.scale"], want)


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path) -> None:
    run, background = Run(), Background()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        with pytest.raises(DiskFull):
            export(tmp_path, 1, run.networks)
        export(tmp_path, 1, run.networks, background=background)
        with pytest.raises(DiskFull):
            background.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if path.name != "here"]


def _export(folder: str) -> None:
    with torch.inference_mode(False):
        run = Run(shard=True)
        run.step(0)
        export(Path(folder), 1, run.networks, run.ema, CONSTANTS)


def test_ranks_that_share_the_weights_export_what_one_does(tmp_path: Path) -> None:
    (tmp_path / "talk").mkdir()
    run_together(2, partial(_export, str(tmp_path / "both")), tmp_path / "talk")
    run = Run()
    run.step(0)
    export(tmp_path / "one", 1, run.networks, run.ema, CONSTANTS)
    for kind in ("reg", "ema"):
        both, one = (read(export_path(tmp_path / name, 1, kind)) for name in ("both", "one"))
        assert list(both) == list(one)
        assert all(torch.equal(both[name], one[name]) for name in one)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4, bias=False) for _ in range(2)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_a_lora_is_exported_as_peft_does_and_merges_to_the_same_network(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = Layers()
    start = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["blocks.0", "blocks.1"], init_lora_weights=False)
    net = peft.inject_adapter_in_model(config, base)
    networks = nn.ModuleDict({"net": net})
    ema = {f"net.{name}": tensor.detach() * 2 for name, tensor in net.named_parameters() if "lora_B" in name}
    recipe = LoRARecipe(rank=2, alpha=6, target_modules=("blocks.0", "blocks.1"))
    export_adapter(tmp_path, 7, networks, recipe, ema)
    x = torch.randn(3, 4)
    for kind in ("reg", "ema"):
        folder = adapter_path(tmp_path, 7, kind)
        merged, theirs = Layers(), Layers()
        merged.load_state_dict(start)
        theirs.load_state_dict(start)
        assert merge_lora(merged, folder) == 2
        with torch.no_grad():
            if kind == "ema":
                for name, parameter in net.named_parameters():
                    parameter.copy_(ema.get(f"net.{name}", parameter))
            torch.testing.assert_close(merged(x), net(x))
            torch.testing.assert_close(peft.PeftModel.from_pretrained(theirs, str(folder))(x), net(x))
    assert {folder.name for folder in tmp_path.iterdir()} >= {"iter_000000007_lora", "iter_000000007_ema_lora"}
