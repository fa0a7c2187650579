"""Which model makes a video, as far as it must be known before that is loaded. Torch only inside functions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cosmos_cli.checkpoints.catalogue import T5_11B, TEXT_ENCODER, Repository, folder_named
from cosmos_cli.errors import InputError
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.variants import TINY_ROOT, Kind, Variant
from cosmos_cli.generation.weights import WEIGHTS, Paths
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_plugins.nemo_bridge.checkpoints import MODELS, NEMO, NEMO_MODELS, TINY_TOKENIZER, TOKENIZER
from cosmos_plugins.nemo_bridge.convert.finding import find_checkpoint
from cosmos_plugins.nemo_bridge.requests import PUBLISHED_TOKENIZER, NemoSettings
from cosmos_plugins.nemo_bridge.variants import VARIANTS

CHECKPOINT = "--nemo-checkpoint"
_NO_SIZE = "Leave it out: the weights say themselves which network they are of."


class Model(NamedTuple):
    """The model of some settings, for videos of one kind.

    size: 7B, 14B or tiny, or that of the closest one for a network of the user's own.
    is_own: whether the user brings the network. paths: of the weights, whether or not they are there.
    network: its shape.
    """

    size: str
    is_own: bool
    paths: Paths
    network: GeneralDiTConfig

    @property
    def variant(self) -> Variant[GeneralDiTConfig]:
        return VARIANTS[self.size]


def model_of(settings: NemoSettings, kind: Kind) -> Model:
    """The model that settings name, for videos of a kind.

    Raises:
        InputError: the named model, or the user's own network, is of the other kind or of another text encoder.
        CheckpointError: the user's checkpoint is unusable.
    """
    _check_named(settings, kind)
    own = settings.nemo_checkpoint
    if own is None:
        paths = paths_of(settings, _published(settings, kind))
        return Model(settings.size, False, paths, VARIANTS[settings.size].network(kind))
    path = find_own(settings.checkpoint_dir, own)
    if not exists(path):
        paths = paths_of(settings, path)
        return Model(settings.size, True, paths, VARIANTS[settings.size].network(kind))
    path = find_checkpoint(path).path
    paths = paths_of(settings, path)
    state = path.stat()
    network = _network_in(path, state.st_mtime_ns, state.st_size)
    check_kind(network, kind, path)
    _check_text(network, settings, path)
    sizes = [size for size, variant in VARIANTS.items() if variant.dit.model_channels == network.model_channels]
    size = sizes[0] if sizes else settings.size
    # a default is no wish
    if size != settings.size and settings.model_size != NemoSettings.model_fields["model_size"].default:
        raise InputError(f"is {settings.model_size}, but {path} is a network of {size}.", where="--model", fix=_NO_SIZE)
    return Model(size, True, paths, network)


def needed(settings: NemoSettings, kind: Kind) -> list[Repository]:
    """What is published of the model, but for what the user brings."""
    network = []
    if settings.nemo_checkpoint is None and not settings.is_tiny:
        form = NEMO_MODELS if _published(settings, kind).name == NEMO else MODELS
        network = [form[kind, settings.size]]
    return [
        *network,
        *([TOKENIZER] if has_published_tokenizer(settings) else []),
        *([] if settings.t5_cache_dir is not None else TEXT_ENCODER),
    ]


def has_published_tokenizer(settings: NemoSettings) -> bool:
    return is_published_tokenizer(settings.tokenizer_dir)


def is_published_tokenizer(name: str) -> bool:
    """Whether `--tokenizer-dir` names the published one, as it does where nobody has given it."""
    return name in ("", PUBLISHED_TOKENIZER)


def tokenizer_folder(name: str, root: Path, *, is_tiny: bool) -> Path:
    """Where the tokenizer lies that `--tokenizer-dir` names, whether or not it is there.

    Args:
        root: the checkpoint folder.
    """
    if is_published_tokenizer(name):
        return folder_named(TINY_ROOT, TINY_TOKENIZER) if is_tiny else folder_named(root, PUBLISHED_TOKENIZER)
    return Path(name) if exists(Path(name)) else folder_named(root, name)


def paths_of(settings: NemoSettings, dit: Path) -> Paths:
    """Where the weights of a model lie, whether or not they are there. dit: its network."""
    root = TINY_ROOT if settings.is_tiny else settings.checkpoint_dir
    tokenizer = tokenizer_folder(settings.tokenizer_dir, settings.checkpoint_dir, is_tiny=settings.is_tiny)
    text = root / VARIANTS[settings.size].helpers.text_encoder
    if settings.t5_cache_dir is not None:
        text = _in_cache(settings.t5_cache_dir)
    return Paths(dit, tokenizer, text, settings.lora_path)


def find_own(root: Path, name: Path) -> Path:
    """The checkpoint that a user names: a path, or a folder under the checkpoint folder."""
    return next((place for place in (name, root / name, root / "nvidia" / name) if exists(place)), name)


def check_kind(network: GeneralDiTConfig, kind: Kind, path: Path) -> None:
    """Raises InputError: these weights are of the other kind."""
    if network.condition_mask == (kind == "video2world"):
        return
    where = "--conditioned-image-or-video-path"
    if kind == "video2world":
        fix = "Leave it out, or give the weights of a Video2World model."
        raise InputError(f"is given, but {path} takes no frames: it is a Text2World model.", where=where, fix=fix)
    fix = "Give a picture or a video, or the weights of a Text2World model."
    raise InputError(f"is required: {path} is a Video2World model.", where=where, fix=fix)


def _check_named(settings: NemoSettings, kind: Kind) -> None:
    if settings.named_kind in (None, kind):
        return
    where, other = "--conditioned-image-or-video-path", f"or pass --model {settings.size}."
    if kind == "video2world":
        raise InputError(
            f"is given, but {settings.model_size} takes no frames.", where=where, fix=f"Leave it out, {other}"
        )
    raise InputError(f"is required by {settings.model_size}.", where=where, fix=f"Give a picture or a video, {other}")


def _check_text(network: GeneralDiTConfig, settings: NemoSettings, path: Path) -> None:
    """Raises InputError: the network reads texts of another encoder."""
    reads, gets = network.crossattn_emb_channels, VARIANTS[settings.size].dit.crossattn_emb_channels
    if reads == gets:
        return
    fix = "Leave out --model tiny." if settings.is_tiny else "Give other weights, or pass --model tiny for tiny ones."
    raise InputError(f"{path} reads text embeddings {reads} wide, and those are {gets}.", where=CHECKPOINT, fix=fix)


def _published(settings: NemoSettings, kind: Kind) -> Path:
    """Where the published network lies: in the originals' form or, where only that is there, as a NeMo checkpoint."""
    root = TINY_ROOT if settings.is_tiny else settings.checkpoint_dir
    folder = folder_named(root, VARIANTS[settings.size].folder_of(kind))
    native, nemo = folder / WEIGHTS, folder / NEMO
    return nemo if not native.is_file() and (nemo / "metadata.json").is_file() else native


def _in_cache(folder: Path) -> Path:
    """The text encoder in a cache of the Hub's client, or the folder itself."""
    snapshots = folder / f"models--{T5_11B.name.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob("*/config.json"))
    return found[-1].parent if found else folder


@lru_cache(maxsize=8)
def _network_in(path: Path, time_ns: int, num_bytes: int) -> GeneralDiTConfig:
    """From the file or folder as it was at that time: rows of a batch share one look at it."""
    from cosmos_plugins.nemo_bridge.networks import network_in

    return network_in(path)
