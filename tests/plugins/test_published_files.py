"""Every published file of all families loads in every shape that is claimed for it, and in no other.

The loaders of the families read stand-ins of real names, shapes, types and nesting at full size.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli import output, registry
from cosmos_cli.catalogues import catalogues
from cosmos_cli.checkpoints.formats import RULES, STAND_INS
from cosmos_cli.checkpoints.keys import AVERAGED, Naming
from cosmos_cli.commands.formats import formats
from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation import networks as predict1
from cosmos_cli.generation.load import BuildNetworks, Built, Where
from cosmos_cli.generation.variants import PUBLISHED_HELPERS
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.cosmos_tokenizer_files import load_tokenizer
from cosmos_cli.models.minimal_dit import stored_constants
from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge import networks as nemo
from cosmos_plugins.predict1_multiview.multiview import samples as predict1_samples
from cosmos_plugins.predict1_multiview.multiview.network import network_of
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewSettings as Predict1Settings
from cosmos_plugins.predict1_multiview.single_view import network as single_view
from cosmos_plugins.predict1_multiview.text2world import requests as predict1_text2world
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW
from cosmos_plugins.predict1_multiview.video2world import requests as predict1_video2world
from cosmos_plugins.predict2.action import networks as action
from cosmos_plugins.predict2.action.requests import ActionSettings
from cosmos_plugins.predict2.multiview import networks as multiview
from cosmos_plugins.predict2.multiview.requests import MultiviewSettings
from cosmos_plugins.predict2.text2image import networks as text2image
from cosmos_plugins.predict2.text2image.requests import Text2ImageSettings
from cosmos_plugins.predict2.variants import ACTION
from cosmos_plugins.predict2.video2world import networks as video2world
from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings
from cosmos_plugins.transfer1 import networks as transfer
from cosmos_plugins.transfer1.checkpoints import weight_paths
from cosmos_plugins.transfer1.multiview import networks as cameras
from cosmos_plugins.transfer1.multiview import samples as cameras_samples
from cosmos_plugins.transfer1.multiview.requests import MultiviewControl, MultiviewRequest
from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings as CamerasSettings
from cosmos_plugins.transfer1.multiview.variants import MULTIVIEW_VARIANTS
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import VARIANTS
from tests.stand_ins import (
    COUNTERS,
    Content,
    save,
    save_shards,
    save_torchscript,
    stand_in,
    stand_in_of,
    under,
    with_dashes,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")

ROOT = Path(__file__).parents[2]
WHERE = Where(torch.device("cpu"), torch.device("cpu"), torch.bfloat16, "sdpa")
FORMATS = {each.file: each for each in formats()}
OURS = [file for file, each in FORMATS.items() if each.test == STAND_INS]

TRANSFER, DRIVING = "nvidia/Cosmos-Transfer1-7B", "nvidia/Cosmos-Transfer1-7B-Sample-AV"
CAMERAS = f"{DRIVING}-Single2MultiView"
TRANSFER_TOKENIZER = "nvidia/Cosmos-Tokenize1-CV8x8x8-720p"
PREDICT1, PREDICT2 = "nvidia/Cosmos-Predict1", "nvidia/Cosmos-Predict2"
COSMOS1 = "nvidia/Cosmos-1.0-Diffusion"


# ---- what is published


def published(file: str, value: float = 1.0) -> Content:
    """What a file of weights holds."""
    folder, _, name = file.rpartition("/")
    if name == "tokenizer.pth":
        return stand_in("vae_wan2.1", value)
    if name == "autoencoder.jit":
        return stand_in("tokenizer_cosmos_cv8x8x8_720p", value)
    if folder.startswith(PREDICT2):
        return _published_predict2(file, value)
    if folder.startswith((PREDICT1, COSMOS1)):
        size, cameras = "14b" if "-14B-" in folder else "7b", "_multiview" if "Multiview" in folder else ""
        return stand_in(f"predict1_{size}_{'video' if 'Video' in folder else 'text'}2world{cameras}", value)
    kind = {TRANSFER: "", DRIVING: "sample_av_", CAMERAS: "sv2mv_"}[folder]
    # branches of several cameras are alike, and there is a manifest of one
    stem = name.removesuffix(".pt").replace("2w_lidar", "2w_hdmap")
    return stand_in(f"transfer1_7b_{kind}{stem}", value)


def _published_predict2(file: str, value: float) -> Content:
    if "Action" in file:
        config = ACTION["2B"].dit
        with torch.device("meta"):
            network = ActionDiT(config)
        constants = {f"net.{name}": torch.zeros(shape) for name, shape in stored_constants(config).items()}
        return stand_in_of(network, "net.", value) | constants
    size = file.removeprefix(f"{PREDICT2}-").partition("-")[0].lower().replace(".", "p")
    kind = "text2image" if "Text2Image" in file else "multiview_7views" if "Multiview" in file else "video2world"
    return stand_in(f"predict2_{size}_{kind}", value)


def put(root: Path, file: str) -> Path:
    """A published file in its place under a checkpoint folder; left if it is there."""
    path = root / file
    if path.exists():
        return path
    if path.name == "mean_std.pt":
        return save((torch.zeros(256), torch.ones(256)), path)
    return (save_torchscript if path.suffix == ".jit" else save)(published(file), path)


# ---- loading it


def load(root: Path, file: str, network: str) -> nn.Module:
    """What is filled from a file, by the loaders of its family; other files that they read are put beside it."""
    if file.startswith(PREDICT2):
        built: Built[Any, Any] = _build_predict2(root, file, load_ema=network == "with --load-ema")(WHERE)
        return built.tokenizer_network if network == "tokenizer" else built.dit
    if file.startswith(COSMOS1):
        return nemo.load_dit(root / file, dtype=WHERE.dtype)
    if file.startswith(PREDICT1):
        return _build_predict1(root, file)(WHERE).dit
    built = _build_cameras(root, file) if file.startswith(CAMERAS) else _build_transfer(root, file)
    if file.startswith(TRANSFER_TOKENIZER):
        return built.tokenizer_network
    return built.branches[root / file] if network == "control branch" else built.dit


def _build_predict2(root: Path, file: str, *, load_ema: bool) -> BuildNetworks[Any, Any]:
    folder = "/".join(file.split("/")[:2])
    size, kind = folder.removeprefix(f"{PREDICT2}-").split("-", 1)
    if file.endswith("tokenizer.pth"):
        file = f"{folder}/{'model' if kind == 'Text2Image' else 'model-720p-16fps'}.pt"
    put(root, file)
    put(root, f"{folder if kind == 'Text2Image' else f'{PREDICT2}-{size}-Video2World'}/tokenizer/tokenizer.pth")
    model: dict[str, Any] = {"model_size": size, "checkpoint_dir": root, "load_ema": load_ema}
    if kind == "Text2Image":
        return text2image.networks(Text2ImageSettings(**model, distill_steps=4 if "distilled" in file else 0))
    if kind == "Multiview":
        return multiview.networks(MultiviewSettings(**model))
    if kind == "Sample-Action-Conditioned":
        return action.networks(ActionSettings(**model))
    _, resolution, fps, *sparse = Path(file).stem.split("-")
    model |= {"resolution": resolution.removesuffix("p"), "fps": int(fps.removesuffix("fps")), "natten": bool(sparse)}
    # models that are Video2World in all but their weights
    own = None if kind == "Video2World" else root / file
    return video2world.networks(Video2WorldSettings(**model, dit_path=own))


def _build_predict1(root: Path, file: str) -> BuildNetworks[Any, Any]:
    kind: Any = "video2world" if "Video" in file else "text2world"
    if "Multiview" in file:
        settings = Predict1Settings(checkpoint_dir=root)
        paths, config = predict1_samples.weight_paths(settings, kind), network_of(settings, kind)
        numbers = {"chunk_frames": MULTIVIEW["7B"].chunk_frames, "num_views": config.n_views}
    else:
        size: Any = "14B" if "-14B-" in file else "7B"
        of_kind = (
            predict1_video2world.Video2WorldSettings if "Video" in file else predict1_text2world.Text2WorldSettings
        )
        model = single_view.model_of(of_kind(checkpoint_dir=root, model_size=size))
        paths, config, numbers = model.paths, model.variant.network(kind), {"chunk_frames": model.variant.chunk_frames}
    for path in (paths.dit, *(paths.tokenizer / name for name in ("autoencoder.jit", "mean_std.pt"))):
        put(root, path.relative_to(root).as_posix())
    return predict1.networks(paths, config, PUBLISHED_HELPERS, **numbers)


def _build_transfer(root: Path, file: str) -> Built[Any, Any]:
    controls = registry.current().controls
    name = next((name for name, known in controls.items() if file in (known.checkpoint, known.distilled)), None)
    settings = TransferSettings(
        checkpoint_dir=root, is_av_sample=file.startswith(f"{DRIVING}/"), use_distilled="distilled" in file
    )
    paths = weight_paths(settings, TransferRequest(controls={name: ControlSpec()} if name else {}))
    return _build_with(root, paths, transfer.networks(settings, paths, paths.controls.values()))


def _build_cameras(root: Path, file: str) -> Built[Any, Any]:
    kind, name, *_ = Path(file).name.split("_")
    request = MultiviewRequest(
        controls={name: MultiviewControl(input_control=())} if name != "base" else {},
        view_condition_video=Path("clip.mp4"),
        initial_condition_video=Path("clip.mp4") if kind == "v2w" else None,
    )
    settings = CamerasSettings(checkpoint_dir=root)
    paths = cameras_samples.weight_paths(settings, request)
    return _build_with(root, paths, cameras.networks(settings, paths, paths.controls.values()))


def _build_with(root: Path, paths: Paths, build: BuildNetworks[Any, Any]) -> Built[Any, Any]:
    tokenizer = [paths.tokenizer / name for name in ("autoencoder.jit", "mean_std.pt")]
    for path in (paths.base, *paths.controls.values(), *tokenizer):
        put(root, path.relative_to(root).as_posix())
    return build(WHERE)


def assert_filled(network: nn.Module, value: float = 1.0) -> None:
    """All parameters are this number, and none takes memory: they are views of the file."""
    for name, parameter in network.named_parameters():
        assert parameter[(0,) * parameter.dim()] == value, name
        assert parameter.untyped_storage().nbytes() <= 8, name


# ---- as they are published


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder that fills as files are asked for, each as it is published."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("file", [pytest.param(f, marks=[pytest.mark.slow] if "-14B-" in f else []) for f in OURS])
def test_a_published_file_loads_without_a_word(file: str, shelf: Path) -> None:
    put(shelf, file)
    for network in FORMATS[file].networks or ["tokenizer"]:
        if network == "with --load-ema":
            with pytest.raises(CheckpointError, match=r"holds no weights named net_ema\.\*"):
                load(shelf, file, network)
        else:
            assert_filled(load(shelf, file, network))
    assert output.notices() == []


def test_the_tokenizer_of_transfer_may_be_in_halves_or_in_a_file_of_weights(tmp_path: Path) -> None:
    file = f"{TRANSFER_TOKENIZER}/autoencoder.jit"
    halves = {"encoder": ("encoder.", "quant_conv."), "decoder": ("decoder.", "post_quant_conv.")}
    for name, prefixes in halves.items():
        content = {key: entry for key, entry in published(file).items() if key.startswith(prefixes)}
        save_torchscript(content, tmp_path / "halves" / f"{name}.jit")
    assert_filled(load_tokenizer(tmp_path / "halves", dtype=torch.bfloat16))
    trained = under(published(file), "", "network.") | {"ema.network-quant_conv-conv3d-weight": torch.zeros(1)}
    for wrap in (dict, lambda content: {"model": content}):
        save(wrap(trained), tmp_path / "trained" / "model.pt")
        assert_filled(load_tokenizer(tmp_path / "trained", dtype=torch.bfloat16))


# ---- in other shapes


def alone(
    load: Callable[..., nn.Module], *, driving: bool = False, distilled: bool = False
) -> Callable[[Path], nn.Module]:
    """Loads one network of Transfer without the others."""
    given = {"attention": WHERE.attention, "dtype": WHERE.dtype, "device": WHERE.dit}
    if load in (cameras.load_base, cameras.load_branch):
        return lambda path: load(path, MULTIVIEW_VARIANTS["7B"], 6, **given)
    return lambda path: load(path, VARIANTS["7B"], driving=driving, distilled=distilled, **given)


@dataclass(frozen=True)
class Kind:
    """A file of one naming and one loader, and which network of it is meant.

    prefix: of that network in the published file. loader: of the network alone; None is the whole family.
    """

    file: str
    network: str
    prefix: str
    loader: Callable[[Path], nn.Module] | None = None

    @property
    def naming(self) -> Naming:
        return FORMATS[self.file].networks[self.network]

    def load(self, root: Path) -> nn.Module:
        return self.loader(root / self.file) if self.loader is not None else load(root, self.file, self.network)

    def entries(self, value: float) -> Content:
        """What the published file holds of the network, without prefix."""
        return under(published(self.file, value), self.prefix, "")


DISTILLED = f"{TRANSFER}/edge_control_distilled.pt"
VIDEO2WORLD = f"{PREDICT2}-2B-Video2World/model-720p-16fps.pt"
KINDS = {
    "base": Kind(f"{TRANSFER}/base_model.pt", "base", "base_model.net.", alone(transfer.load_base)),
    "branch": Kind(f"{TRANSFER}/edge_control.pt", "control branch", "net.", alone(transfer.load_branch)),
    "distilled-base": Kind(DISTILLED, "base", "net.base_model.net.", alone(transfer.load_base, distilled=True)),
    "distilled-branch": Kind(DISTILLED, "control branch", "net.net_ctrl.", alone(transfer.load_branch, distilled=True)),
    "cameras-base": Kind(f"{CAMERAS}/v2w_base_model.pt", "base", "net.", alone(cameras.load_base)),
    "cameras-branch": Kind(f"{CAMERAS}/v2w_hdmap_control.pt", "control branch", "net.", alone(cameras.load_branch)),
    "predict1": Kind(
        f"{PREDICT1}-7B-Video2World-Sample-AV-Multiview/model.pt",
        "DiT",
        "net.",
        lambda path: predict1.load_dit(path, MULTIVIEW["7B"].dit, dtype=WHERE.dtype),
    ),
    "DiT": Kind(VIDEO2WORLD, "DiT", "net."),
    "averaged-DiT": Kind(VIDEO2WORLD, "with --load-ema", "net."),
    "tokenizer": Kind(f"{PREDICT2}-0.6B-Text2Image/tokenizer/tokenizer.pth", "tokenizer", ""),
}

Make = Callable[[Content, Content], Content]
"""A network's entries and as many wrong ones to what a file holds."""

STRAY = ("fake_score.net.blocks.0.weight", "logvar.0.freqs", "conditioner.text.weight", "tokenizer.conv1.bias")


def shapes(naming: Naming) -> dict[str, Make]:
    """All that is claimed of a naming, and what holds for each."""
    prefixes, other_set = naming.prefixes_in(None)
    first, *rest = prefixes

    def in_wrapper(wrapper: str, entries: Content) -> Content:
        named = under(entries, "", naming.prefixes_in(wrapper)[0][0])
        return {wrapper: with_dashes(named) if wrapper == AVERAGED else named}

    def in_all(right: Content, wrong: Content) -> Content:
        """Of all wrappers the first is right."""
        found = in_wrapper(naming.wrappers[0], right)
        for wrapper in naming.wrappers[1:]:
            found |= in_wrapper(wrapper, wrong)
        return found | COUNTERS

    def beside_others(right: Content, wrong: Content) -> Content:
        """Of all prefixes the first is right, whatever else there is."""
        others = {prefix for prefix in (*rest, *other_set, "base_model.net.", "net.") if prefix}
        found = {key: torch.zeros(2) for key in STRAY}
        for prefix in others:
            if not first.startswith(prefix) and not prefix.startswith(first):
                found |= under(wrong, "", prefix)
        return found | under(right, "", first) | COUNTERS

    made: dict[str, Make] = {}
    for prefix in prefixes:
        made[f"{prefix or 'bare'}"] = lambda right, _, prefix=prefix: under(right, "", prefix) | COUNTERS
    for wrapper in naming.wrappers:
        made[f"in-{wrapper}"] = lambda right, _, wrapper=wrapper: in_wrapper(wrapper, right) | COUNTERS
    made["in-all-wrappers"] = in_all
    if first:
        made["beside-others"] = beside_others
    made["in-shells"] = lambda right, _: under(right, "", f"module._orig_mod.{first}")
    made["in-shells-within"] = lambda right, _: {
        f"{first}_fsdp_wrapped_module.{name.replace('.', '._checkpoint_wrapped_module.', 1)}": entry
        for name, entry in right.items()
    }
    return made


SHAPES = [(kind, shape) for kind in KINDS for shape in shapes(KINDS[kind].naming)]


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_every_shape_that_is_claimed_loads(kind: str, shape: str, tmp_path: Path) -> None:
    meant = KINDS[kind]
    content = shapes(meant.naming)[shape](meant.entries(1.0), meant.entries(2.0))
    save(content, tmp_path / meant.file)
    assert_filled(meant.load(tmp_path))
    notices = [notice for notice in output.notices() if "are ignored" in notice]
    assert len(notices) == (shape == "beside-others")


@pytest.mark.parametrize("prefix", ["base_model.net.", "net."])
@pytest.mark.parametrize(
    ("file", "loader"),
    [
        (f"{TRANSFER}/base_model.pt", alone(transfer.load_base)),
        (f"{DRIVING}/base_model.pt", alone(transfer.load_base, driving=True)),
        (f"{CAMERAS}/t2w_base_model.pt", alone(cameras.load_base)),
    ],
)
def test_all_bases_of_transfer_may_stand_beside_a_branch_or_alone(
    file: str, loader: Callable[[Path], nn.Module], prefix: str, tmp_path: Path
) -> None:
    entries = {key.rpartition("net.")[2]: entry for key, entry in published(file).items() if "net." in key}
    branch = published(f"{TRANSFER}/edge_control.pt", 2.0) if prefix == "base_model.net." else {}
    assert_filled(loader(save(branch | under(entries, "", prefix), tmp_path / "base_model.pt")))


@pytest.mark.parametrize(
    ("kind", "taken"),
    {
        "base": "ema",
        "branch": "ema",
        "cameras-base": "ema",
        "cameras-branch": "ema",
        "distilled-base": "model",
        "distilled-branch": "model",
        "DiT": "model",
        "averaged-DiT": "ema",
    }.items(),
)
def test_of_both_sets_in_a_file_that_is_taken_which_the_originals_take(kind: str, taken: str, tmp_path: Path) -> None:
    meant = KINDS[kind]
    sets = {name: under(meant.entries(1.0 + (name != taken)), "", meant.prefix) for name in ("model", "ema")}
    save({"model": sets["model"], "ema": with_dashes(sets["ema"])}, tmp_path / meant.file)
    assert_filled(meant.load(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_container_loads(kind: str, tmp_path: Path) -> None:
    meant = KINDS[kind]
    entries = under(meant.entries(1.0), "", meant.naming.prefixes_in(None)[0][0])
    save(entries, tmp_path / "old" / meant.file, _use_new_zipfile_serialization=False)
    save_shards(entries, tmp_path / "shards" / meant.file)
    for root in ("old", "shards"):
        assert_filled(meant.load(tmp_path / root))


# ---- what must not load


def without_a_key(entries: Content) -> Content:
    return {key: entry for key, entry in entries.items() if key != _some_weight(entries)}


def with_another_shape(entries: Content) -> Content:
    key = _some_weight(entries)
    return entries | {
        key: torch.zeros((), dtype=torch.bfloat16).expand(entries[key].shape[0] + 1, *entries[key].shape[1:])
    }


def of_a_larger_network(entries: Content) -> Content:
    """One block more, of the same shapes."""
    more = {re.sub(r"(blocks\.(?:block)?)0\.", r"\g<1>99.", key): entry for key, entry in entries.items()}
    more = {key: entry for key, entry in more.items() if key not in entries}
    return entries | (more or {"encoder.middle.99.gamma": torch.zeros(1)})


def of_a_lora(entries: Content) -> Content:
    layers = [key.removesuffix(".weight") for key in entries if key.endswith("_proj.weight") or ".to_q.0." in key]
    return {f"{layer or 'conv1'}.lora_{half}.weight": torch.zeros(2, 2) for layer in layers or [""] for half in "AB"}


def _some_weight(entries: Content) -> str:
    return next(key for key, entry in entries.items() if isinstance(entry, Tensor) and entry.dim() > 1)


SPOILT: dict[Callable[[Content], Content], str] = {
    without_a_key: r"does not fit (.|\n)*1 missing",
    with_another_shape: r"does not fit (.|\n)*1 misshapen",
    of_a_larger_network: r"does not fit (.|\n)*unexpected",
    of_a_lora: r"belongs to another network(.|\n)*It holds a LoRA",
}


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_exactly_is_refused(kind: str, spoil: Callable[[Content], Content], tmp_path: Path) -> None:
    meant = KINDS[kind]
    save(under(spoil(meant.entries(1.0)), "", meant.naming.prefixes_in(None)[0][0]), tmp_path / meant.file)
    with pytest.raises(CheckpointError, match=SPOILT[spoil]):
        meant.load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("base", f"{TRANSFER}/edge_control.pt"),
        ("base", DISTILLED),
        ("base", f"{DRIVING}/base_model.pt"),
        ("base", f"{CAMERAS}/t2w_base_model.pt"),
        ("base", VIDEO2WORLD),
        ("branch", f"{TRANSFER}/base_model.pt"),
        ("branch", DISTILLED),
        ("branch", f"{DRIVING}/hdmap_control.pt"),
        ("branch", f"{CAMERAS}/t2w_hdmap_control.pt"),
        ("distilled-base", f"{TRANSFER}/base_model.pt"),
        ("distilled-branch", f"{TRANSFER}/edge_control.pt"),
        ("cameras-base", f"{DRIVING}/base_model.pt"),
        ("cameras-branch", f"{DRIVING}/hdmap_control.pt"),
        ("predict1", f"{TRANSFER}/base_model.pt"),
        ("predict1", f"{DRIVING}/base_model.pt"),
        ("DiT", f"{PREDICT2}-2B-Text2Image/model.pt"),
        ("DiT", f"{PREDICT2}-2B-Multiview/model-720p-10fps-7views-29frames.pt"),
        ("DiT", f"{PREDICT2}-2B-Sample-Action-Conditioned/model-480p-4fps.pt"),
        ("DiT", f"{PREDICT2}-14B-Video2World/model-720p-16fps.pt"),
        ("DiT", f"{TRANSFER}/base_model.pt"),
        ("tokenizer", f"{TRANSFER_TOKENIZER}/autoencoder.jit"),
    ],
)
def test_a_file_of_another_network_is_refused(kind: str, other: str, tmp_path: Path) -> None:
    meant = KINDS[kind]
    save(published(other), tmp_path / meant.file)
    with pytest.raises(CheckpointError, match=r"does not fit|belongs to another network|holds no weights named"):
        meant.load(tmp_path)


# ---- the table


def test_every_published_file_is_in_the_table() -> None:
    published_files = {
        f"{repository.belongs_to or repository.name}/{file.path}"
        for catalogue in catalogues().values()
        for repositories in catalogue.values()
        for repository in repositories
        for file in repository.files
    }
    assert [file for file in published_files if sum(each.covers(file) for each in FORMATS.values()) != 1] == []


def test_every_test_in_the_table_exists_and_every_naming_is_tried() -> None:
    for each in FORMATS.values():
        path, _, name = each.test.partition("::")
        functions = [
            node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        assert name in functions if name else any(function.startswith("test_") for function in functions)
    tried = [kind.naming for kind in KINDS.values()]
    assert all(naming in tried for file in OURS for naming in FORMATS[file].networks.values())


def test_the_command_prints_the_table_without_torch(cosmos: Callable[..., CommandResult]) -> None:
    lines = cosmos("models", "--formats").stdout.splitlines()
    assert lines[0].split() == ["FILE", "SHAPES", "TEST"]
    [line] = [line for line in lines if line.startswith(f"{TRANSFER}/base_model.pt ")]
    assert line.split()[-1] == STAND_INS
    assert "base_model.net.*, net.* or bare names, alone or in ema, model, module or state_dict" in line
    assert sum(line.startswith(tuple(FORMATS)) for line in lines) == len(FORMATS)
    code = "import sys; from cosmos_cli.commands.formats import formats; formats(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cosmos_plugins.transfer1.formats" in modules
    assert not {"torch", "numpy", "transformers", "safetensors"} & set(modules)


def test_the_document_has_names_and_wrappers_by_themselves(cosmos: Callable[..., CommandResult]) -> None:
    document = cosmos("models", "--formats", "--json").json
    assert set(document["rules"]) == set(RULES)
    [distilled] = [each for each in document["formats"] if each["file"] == DISTILLED]
    assert distilled["test"] == STAND_INS
    base, branch = distilled["networks"]
    assert (base["network"], base["prefixes"], base["averaged"]) == ("base", ["net.base_model.net."], False)
    assert (branch["network"], branch["prefixes"]) == ("control branch", ["net.net_ctrl."])
    assert branch["wrappers"] == ["model", "module", "state_dict", "ema"]
