"""A network is filled exactly or not at all, says everything that does not fit, and costs one copy of the weights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn

from cosmos_cli import output
from cosmos_cli.checkpoints.keys import PUBLISHED, Naming, compare_keys
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError
from cosmos_cli.runtime.memory.offload import module_bytes


class Network(nn.Module):
    """Parameters, a bias and an integer buffer under nested names."""

    steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedder = nn.Linear(4, 8, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


@pytest.fixture
def original() -> Network:
    torch.manual_seed(0)
    network = Network()
    network.steps.fill_(5)
    return network


def save(network: nn.Module, path: Path, prefix: str = "", **extras: torch.Tensor) -> Path:
    torch.save({f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()} | extras, path)
    return path


def assert_same(loaded: nn.Module, original: nn.Module) -> None:
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=0, rtol=0)


def test_a_network_comes_back_as_saved_ready_for_inference(original: Network, tmp_path: Path) -> None:
    loaded = load_network(Network, save(original, tmp_path / "model.pt"))
    assert isinstance(loaded, Network)
    assert_same(loaded, original)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    x = torch.ones(2, 4)
    assert torch.equal(loaded.embedder(x), original.embedder(x))


def test_the_stored_dtype_is_kept_and_the_file_is_not_copied(original: Network, tmp_path: Path) -> None:
    with open_checkpoint(save(original.bfloat16(), tmp_path / "model.pt")) as checkpoint:
        loaded = load_network(Network, checkpoint)
        same_dtype = load_network(Network, checkpoint, dtype=torch.bfloat16)
        for network in (loaded, same_dtype):
            assert network.embedder.weight.dtype == torch.bfloat16
            assert network.embedder.weight.data_ptr() == checkpoint.tensor("embedder.weight").data_ptr()
    assert_same(loaded, original)  # also after closing


def test_a_dtype_converts_floating_point_tensors_only(original: Network, tmp_path: Path) -> None:
    loaded = load_network(Network, save(original, tmp_path / "model.pt"), dtype=torch.float16)
    assert torch.equal(loaded.get_parameter("blocks.1.bias"), original.get_parameter("blocks.1.bias").half())
    assert loaded.steps.dtype == torch.int64
    assert loaded.steps == 5


def test_missing_unexpected_and_misshapen_keys_are_reported_together(original: Network, tmp_path: Path) -> None:
    state = original.state_dict()
    state["blocks.2.wieght"] = state.pop("blocks.2.weight")
    state["blocks.0.bias"] = torch.zeros(9)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(CheckpointError) as caught:
        load_network(Network, tmp_path / "model.pt")
    message = str(caught.value)
    assert "model.pt does not fit Network" in message
    assert "1 missing:\n  blocks.2.weight (nearest on the other side: blocks.2.wieght)" in message
    assert "1 unexpected:\n  blocks.2.wieght (nearest on the other side: blocks.2.weight)" in message
    assert "1 misshapen:\n  blocks.0.bias: [9], should be [8]" in message
    assert caught.value.problems[0].where == str(tmp_path / "model.pt")


def test_a_file_of_another_network_is_called_that(original: Network, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to another network: 8 of the 8 tensors of Network"):
        load_network(Network, save(nn.Conv2d(3, 3, 1), tmp_path / "model.pt"))


def test_two_keys_for_one_parameter_are_refused(original: Network, tmp_path: Path) -> None:
    path = save(original, tmp_path / "model.pt", prefix="net.", **{"embedder.weight": torch.zeros(8, 4)})
    with pytest.raises(CheckpointError, match=r"given twice: net.embedder.weight and embedder.weight"):
        load_network(Network, path, naming=PUBLISHED)


def test_tables_that_no_checkpoint_can_fill_are_a_mistake_of_the_network(tmp_path: Path) -> None:
    class WithTable(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("table", torch.arange(3), persistent=False)

    with pytest.raises(ValueError, match="not persistent: table"):
        load_network(WithTable, save(nn.Linear(2, 2), tmp_path / "model.pt"))


# ---- key conventions


@pytest.mark.parametrize("prefix", ["net.", ""])
def test_published_files_load_with_and_without_prefix_and_what_is_not_learnt_is_dropped(
    prefix: str, original: Network, tmp_path: Path
) -> None:
    constants = ["accum_iteration", "pos_embedder.seq", "pos_embedder.dim_spatial_range", "blocks.0.attn._extra_state"]
    extras = {f"{prefix}{name}": torch.zeros(3) for name in constants}
    path = save(original, tmp_path / "model.pt", prefix, **extras, **{"net_ema.embedder.weight": torch.zeros(1)})
    assert_same(load_network(Network, path, naming=PUBLISHED), original)


def test_anything_else_in_a_published_file_is_still_an_error(original: Network, tmp_path: Path) -> None:
    path = save(original, tmp_path / "model.pt", "net.", **{"net.pos_embedder.learnt": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"1 unexpected:\n  pos_embedder.learnt"):
        load_network(Network, path, naming=PUBLISHED)


def test_averaged_weights_are_taken_when_asked_for(original: Network, tmp_path: Path) -> None:
    averaged = {f"net_ema.{name}": tensor + 1 for name, tensor in original.state_dict().items()}
    path = save(original, tmp_path / "model.pt", "net.", **averaged)
    assert_same(load_network(Network, path, naming=PUBLISHED), original)
    ema = load_network(Network, path, naming=PUBLISHED.averaged())
    assert torch.equal(ema.embedder.weight, original.embedder.weight + 1)


@pytest.mark.parametrize("prefix", ["net.", ""])
def test_a_file_without_averaged_weights_says_what_it_has_instead(
    prefix: str, original: Network, tmp_path: Path
) -> None:
    path = save(original, tmp_path / "model.pt", prefix)
    has = r"8 net\.\*\." if prefix else r"6 blocks\.\*, 1 .*, 1 "
    with pytest.raises(CheckpointError, match=rf"no weights named net_ema\.\*\. It holds: {has}"):
        load_network(Network, path, naming=PUBLISHED.averaged())


def test_of_several_prefixes_the_first_that_a_file_has_counts_and_the_rest_is_noticed(
    original: Network, tmp_path: Path
) -> None:
    naming = Naming(("base_model.net.", "net.", ""))
    for prefix in naming.prefixes:
        assert_same(load_network(Network, save(original, tmp_path / "one.pt", prefix), naming=naming), original)
    assert output.notices() == []
    stray = {f"net.{name}": torch.full_like(tensor, 9) for name, tensor in Network().state_dict().items()}
    both = save(original, tmp_path / "both.pt", "base_model.net.", **stray, **{"logvar.0.freqs": torch.zeros(3)})
    assert_same(load_network(Network, both, naming=naming), original)
    assert output.notices() == [
        "both.pt: keys outside of Network are ignored, 9 of them: net.steps, net.embedder.weight, "
        "net.blocks.0.weight and 6 more"
    ]


def test_what_is_known_to_stand_beside_a_network_is_not_worth_a_notice(original: Network, tmp_path: Path) -> None:
    beside = ["logvar.0.freqs", "base_model.logvar.1.weight", "conditioner.text.weight", "net_ema.embedder.weight"]
    path = save(original, tmp_path / "model.pt", "net.", **{key: torch.zeros(2) for key in beside})
    assert_same(load_network(Network, path, naming=PUBLISHED), original)
    assert output.notices() == []


@pytest.mark.parametrize("name", ["logvar.head.weight", "text_conditioner.weight", "conditioner.weight"])
def test_what_is_known_outside_is_an_error_inside(name: str, original: Network, tmp_path: Path) -> None:
    path = save(original, tmp_path / "model.pt", "net.", **{f"net.{name}": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=rf"1 unexpected:\n  {name}"):
        load_network(Network, path, naming=PUBLISHED)


def test_a_larger_network_under_the_right_prefix_is_not_cut_down(original: Network, tmp_path: Path) -> None:
    more = {f"net.blocks.{i}.{name}": torch.zeros(8, 8) for i in (3, 4) for name in ("weight", "bias")}
    path = save(original, tmp_path / "model.pt", "net.", **more)
    with pytest.raises(CheckpointError, match=r"does not fit Network(.|\n)*4 unexpected:\n  blocks.3.weight"):
        load_network(Network, path, naming=PUBLISHED)


SHELLS = [
    lambda key: f"module.{key}",
    lambda key: key.replace("net.", "net._orig_mod.").replace("blocks.1.", "blocks.1._fsdp_wrapped_module."),
    lambda key: key.replace("net.", "net.module._orig_mod._fsdp_wrapped_module._checkpoint_wrapped_module."),
    lambda key: f"model.{key}",
    lambda key: f"model.module._orig_mod.{key}",
    lambda key: f"_orig_mod.{key}".replace(".weight", "._checkpoint_wrapped_module.weight"),
]


@pytest.mark.parametrize("into_shells", SHELLS)
def test_weights_saved_from_inside_of_shells_load(
    into_shells: Callable[[str], str], original: Network, tmp_path: Path
) -> None:
    torch.save({into_shells(f"net.{k}"): tensor for k, tensor in original.state_dict().items()}, tmp_path / "model.pt")
    assert_same(load_network(Network, tmp_path / "model.pt", naming=PUBLISHED), original)
    assert output.notices() == []


def test_a_module_of_the_name_of_a_shell_keeps_it(tmp_path: Path) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    outer = Outer()
    assert_same(load_network(Outer, save(outer, tmp_path / "model.pt")), outer)


class Outer(nn.Module):
    """One of its parts has the name that DDP gives to the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)
        self.head = nn.Linear(2, 3)


@pytest.mark.parametrize("around", ["", "module.", "module.net.", "module._orig_mod.net.", "_orig_mod.module."])
def test_a_shell_around_a_network_goes_also_where_a_part_has_its_name(around: str, tmp_path: Path) -> None:
    outer = Outer()
    assert_same(load_network(Outer, save(outer, tmp_path / "model.pt", around), naming=PUBLISHED), outer)


@pytest.mark.parametrize("dtype", ["complex64", "int64", "int8", "uint8", "bool", "uint16"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "distributed"])
@pytest.mark.parametrize("to", [None, torch.bfloat16])
def test_numbers_of_another_kind_are_no_weights(
    dtype: str, suffix: str, to: torch.dtype | None, original: Network, tmp_path: Path
) -> None:
    weights = original.state_dict()
    weights["blocks.1.bias"] = weights["blocks.1.bias"].to(getattr(torch, dtype))
    path = tmp_path / f"model.{suffix}"
    if suffix == "distributed":
        dcp.save(weights, checkpoint_id=path, no_dist=True)
    else:
        save_file(weights, path) if suffix == "safetensors" else torch.save(weights, path)
    with pytest.raises(CheckpointError, match=rf"1 of another type:\n  blocks.1.bias: {dtype}, should be floats"):
        load_network(Network, path, dtype=to)


def test_a_counter_may_be_of_any_width_but_no_float(original: Network, tmp_path: Path) -> None:
    weights = original.state_dict()
    torch.save({**weights, "steps": torch.tensor(5, dtype=torch.int32)}, tmp_path / "model.pt")
    assert load_network(Network, tmp_path / "model.pt").steps == 5
    torch.save({**weights, "steps": torch.tensor(5.5)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="steps: float32, should be whole numbers"):
        load_network(Network, tmp_path / "model.pt")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64, torch.float16])
def test_weights_of_any_width_load_and_can_be_computed_with(
    dtype: torch.dtype, original: Network, tmp_path: Path
) -> None:
    torch.save(
        {k: v.to(dtype) if v.is_floating_point() else v for k, v in original.state_dict().items()}, tmp_path / "m"
    )
    rounded = original.embedder.weight.to(dtype)
    kept = load_network(Network, tmp_path / "m").embedder
    assert kept.weight.dtype == (torch.bfloat16 if dtype.itemsize == 1 else dtype)
    assert torch.equal(kept.weight.double(), rounded.double())
    loaded = load_network(Network, tmp_path / "m", dtype=torch.float32).embedder
    assert torch.equal(loaded(torch.eye(4)).T, rounded.float())


def test_a_wrapper_in_a_wrapper_is_opened_too(original: Network, tmp_path: Path) -> None:
    other = {name: torch.zeros_like(tensor) for name, tensor in original.state_dict().items()}
    for content in (
        {"model": {"state_dict": original.state_dict()}, "epoch": 3},
        {"state_dict": {"model": {"module": original.state_dict()}, "ema": other}},
    ):
        torch.save(content, tmp_path / "model.pt")
        assert_same(load_network(Network, tmp_path / "model.pt"), original)
        dcp.save(content, checkpoint_id=tmp_path / "model", no_dist=True)
        assert_same(load_network(Network, tmp_path / "model"), original)
    torch.save({"state_dict": {"model": other, "ema": averaged(original, "")}}, tmp_path / "model.pt")
    loaded = load_network(Network, tmp_path / "model.pt", naming=Naming(wrappers=("state_dict",)).averaged())
    assert torch.equal(loaded.embedder.weight, original.embedder.weight + 1)


def test_escapes_in_keys_do_not_reach_a_terminal(original: Network, tmp_path: Path) -> None:
    for name in ("net.\x1b[2Jred", "\x1b]0;title\x07.weight"):
        torch.save({f"net.{k}": t for k, t in original.state_dict().items()} | {name: torch.ones(1)}, tmp_path / "m")
        try:
            load_network(Network, tmp_path / "m", naming=PUBLISHED)
        except CheckpointError as error:
            said = str(error)
        else:
            said = output.notices()[-1]
        assert "\\x1b" in said and "\x1b" not in said


def averaged(network: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    """As the tool that averages weights names them, each one larger by 1."""
    return {f"{prefix}{name}".replace(".", "-"): tensor + 1 for name, tensor in network.state_dict().items()}


def test_which_wrapper_counts_is_a_matter_of_the_naming(original: Network, tmp_path: Path) -> None:
    weights = {f"net.{name}": tensor for name, tensor in original.state_dict().items()}
    path = tmp_path / "model.pt"
    torch.save({"model": weights, "ema": averaged(original, "net."), "iteration": 7}, path)
    assert_same(load_network(Network, path, naming=PUBLISHED), original)
    first = replace(PUBLISHED, wrappers=("ema", "model"))
    for naming in (first, PUBLISHED.averaged()):
        loaded = load_network(Network, path, naming=naming)
        assert torch.equal(loaded.blocks[2].bias, original.blocks[2].bias + 1)
    torch.save({"model": weights, "ema": None}, path)
    assert_same(load_network(Network, path, naming=first), original)
    torch.save({"ema": averaged(original, "net.")}, path)
    assert load_network(Network, path, naming=PUBLISHED).steps == original.steps + 1


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_distributed_checkpoint_of_both_sets_gives_the_one_that_is_meant(original: Network, tmp_path: Path) -> None:
    weights = {f"net.{name}": tensor for name, tensor in original.state_dict().items()}
    dcp.save({"model": weights, "ema": averaged(original, "net.")}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    assert_same(load_network(Network, tmp_path / "dcp", naming=PUBLISHED), original)
    assert load_network(Network, tmp_path / "dcp", naming=PUBLISHED.averaged()).steps == original.steps + 1


# ---- comparing keys


def test_equal_keys_and_shapes_match_whatever_the_order_and_the_sequence_type() -> None:
    report = compare_keys({"a": (1, 2), "b": ()}, {"b": torch.Size([]), "a": [1, 2]})
    assert report.matches
    assert report.summary() == ""


def test_long_lists_are_cut_with_their_count() -> None:
    report = compare_keys({f"layer.{i}": (1,) for i in range(20)}, {})
    assert len(report.missing) == 20
    assert report.is_other_network
    assert report.summary().startswith("20 missing:\n  layer.0\n")
    assert report.summary().count("\n") == 9
    assert report.summary().endswith("... and 12 more")


def test_module_bytes_counts_buffers_and_shared_parameters_once(original: Network) -> None:
    assert module_bytes(original) == 4 * (8 * 4 + 3 * (8 * 8 + 8)) + 8
    original.blocks[1].weight = original.blocks[0].weight
    assert module_bytes(original) == 4 * (8 * 4 + 2 * 8 * 8 + 3 * 8) + 8


# ---- memory

LOAD_QUARTER = """
import sys, torch
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.runtime.memory.offload import module_bytes
from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.minimal_dit import MinimalDiT

def kib(field):
    return int(open("/proc/self/status").read().partition(field + ":")[2].split()[0])

build = lambda: MinimalDiT(MinimalDiTConfig(model_channels=2048, num_blocks=7, num_heads=16))
dtype = getattr(torch, sys.argv[2])
before = kib("VmRSS"), kib("RssAnon")
network = load_network(build, sys.argv[1], naming=PUBLISHED, dtype=dtype)
for parameter in network.parameters():
    parameter.max()
after = kib("VmHWM"), kib("RssAnon")
print(1024 * (after[0] - before[0]), 1024 * (after[1] - before[1]), module_bytes(network))
"""


@pytest.fixture(scope="module")
def quarter_of_2b(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with the keys of the published 2B network, of 7 of its 28 blocks, in bfloat16."""
    manifest = json.loads((Path(__file__).parents[1] / "golden/manifests/predict2_2b_video2world.json").read_text())
    weights = {
        key: torch.empty(entry["shape"], dtype=torch.bfloat16).fill_(0.5)
        for key, entry in manifest.items()
        if not (found := re.search(r"\bblocks\.(\d+)\.", key)) or int(found[1]) < 7
    }
    path = tmp_path_factory.mktemp("quarter") / "model-720p-16fps.pt"
    torch.save(weights, path)
    del weights
    yield path
    path.unlink()  # pytest keeps the folders of its last runs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_loading_half_a_billion_parameters_takes_one_copy_of_the_weights(dtype: str, quarter_of_2b: Path) -> None:
    command = [sys.executable, "-c", LOAD_QUARTER, str(quarter_of_2b), dtype]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, private, weights = map(int, re.findall(r"-?\d+", output))
    num_bytes = quarter_of_2b.stat().st_size
    assert weights == pytest.approx(num_bytes, rel=0.01)
    if dtype == "bfloat16":
        assert peak < 1.3 * num_bytes
        assert private < 0.1 * num_bytes, "weights in the stored dtype stay views of the file"
    else:
        # pages of the file are counted in the peak too, but the system takes those back when memory is short
        assert private < 1.1 * num_bytes
