"""Published files of Predict2 and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import GUARDRAILS, TEXT_ENCODER, PublishedFile, Repository, only_for
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_plugins.predict2.settings import DitSettings, TextSettings
from cosmos_plugins.predict2.variants import (
    ACTION,
    GR00T_DREAMS,
    MULTIVIEW,
    TEXT2IMAGE,
    VARIANTS,
    SampleVariant,
    Variant,
)

_NVIDIA = "NVIDIA Open Model License"
_DIT_BYTES = {"2B": 3_913_000_000, "14B": 28_531_000_000}
_TOKENIZER = PublishedFile("tokenizer/tokenizer.pth", 508_000_000)
_REVISIONS = {"2B": "f50c09f5d8ab133a90cac3f4886a6471e9ba3f18", "14B": "03b03a377fede782647afac998f674d9f358e319"}


REASON1 = Repository(
    "nvidia/Cosmos-Reason1-7B",
    "8fe96c1fa10db9e666b6fa6a87fea57dd9635649",
    (
        PublishedFile("config.json", 1_500),
        PublishedFile("generation_config.json", 250, is_read_if_there=True),
        PublishedFile("preprocessor_config.json", 600, is_read_if_there=True),
        # older and newer writers of such folders put the template elsewhere; the tokenizer's settings may have it too
        PublishedFile("chat_template.json", 1_050, is_read_if_there=True),
        PublishedFile("chat_template.jinja", 1_050, is_read_if_there=True),
        PublishedFile("tokenizer.json", 11_400_000),
        PublishedFile("tokenizer_config.json", 7_300),
        PublishedFile("model.safetensors.index.json", 57_600),
        PublishedFile("model-00001-of-00004.safetensors", 4_968_000_000),
        PublishedFile("model-00002-of-00004.safetensors", 4_991_000_000),
        PublishedFile("model-00003-of-00004.safetensors", 4_933_000_000),
        PublishedFile("model-00004-of-00004.safetensors", 1_692_000_000),
    ),
    _NVIDIA,
)
"""Prompt refiner and critic."""


def weights_of(settings: DitSettings, variant: SampleVariant | Variant, dit_file: str) -> dict[str, Path]:
    """Where a run reads its weights, whether or not they are there, by what they are.

    Args:
        dit_file: the published DiT under the checkpoint folder.
    """
    root = TINY_ROOT if settings.is_tiny else settings.checkpoint_dir
    weights = {"dit": settings.dit_path or root / dit_file, "tokenizer": root / variant.tokenizer_file}
    return weights | ({"text_encoder": root / variant.text_encoder} if isinstance(settings, TextSettings) else {})


def dit_file(resolution: str, fps: int, natten: bool = False) -> str:
    """Name of the DiT weights inside the model's folder."""
    if resolution == "tiny":
        return "model-tiny.pt"  # one set of weights for both rates
    return f"model-{resolution}p-{fps}fps{'-natten' if natten else ''}.pt"


def repositories(model_size: str, resolution: str, fps: int, natten: bool, own_dit: bool) -> list[Repository]:
    """What a run needs: the DiT unless the user brings one, the tokenizer, the text encoder."""
    dit = [] if own_dit else [PublishedFile(dit_file(resolution, fps, natten), _DIT_BYTES[model_size])]
    model = Repository(VARIANTS[model_size].folder, _REVISIONS[model_size], (*dit, _TOKENIZER), _NVIDIA)
    return [model, *TEXT_ENCODER]


def _published(model_size: str) -> Repository:
    # the first is that of a run without options
    dense = [(resolution, fps, False) for resolution in ("720", "480") for fps in (16, 10)]
    files = tuple(
        PublishedFile(dit_file(*which), _DIT_BYTES[model_size], only_for=_options(*which))
        for which in (*dense, ("720", 16, True), ("720", 10, True))
    )
    return Repository(
        VARIANTS[model_size].folder,
        _REVISIONS[model_size],
        (*files, _TOKENIZER),
        _NVIDIA,
        model_type="video2world",
    )


def _options(resolution: str, fps: int, natten: bool) -> str:
    """What a run must say to open these weights."""
    said = {"--resolution 480": resolution == "480", "--fps 10": fps == 10, "--natten": natten}
    return " ".join(option for option, is_said in said.items() if is_said)


_TEXT2IMAGE_BYTES = {"0.6B": 1_195_000_000, "2B": 3_913_000_000, "14B": 28_531_000_000}
_TEXT2IMAGE_REVISIONS = {
    "0.6B": "80e9f1599778499e9b5435179861871b5a3561d4",
    "2B": "acdb5fde992a73ef0355f287977d002cbfd127e0",
    "14B": "015332720f70dd7b497c1cff9fd0c936a77f160b",
}
_MULTIVIEW_REVISION = "52f3731663eecdc998d9608f9b21ac4dcbdea6f1"


DISTILLED = ("0.6B",)
"""Sizes of Text2Image whose distilled weights are published."""


def text2image_file(model_size: str, distilled: bool) -> str:
    """The DiT weights under the checkpoint folder."""
    published = TEXT2IMAGE[model_size].dit_file
    # the tiny model has one set of weights for both
    return published.replace("model.pt", "model_distilled.pt") if distilled and model_size != "tiny" else published


def text2image_repositories(model_size: str, distilled: bool, own_dit: bool) -> list[Repository]:
    """What `cosmos predict2 text2image` needs."""
    if distilled and not own_dit:
        return [_distilled(model_size), _text2image(model_size, []), *TEXT_ENCODER]
    return [_text2image(model_size, [] if own_dit else [_ordinary(model_size)]), *TEXT_ENCODER]


def _ordinary(model_size: str) -> PublishedFile:
    return PublishedFile(text2image_file(model_size, distilled=False).rpartition("/")[2], _TEXT2IMAGE_BYTES[model_size])


_GR00T_REVISIONS = {
    "gr1": "926f34dd83860c5406ab4b400e156c3fd6fe6c0d",
    "droid": "ebc29d30a3fab504bcc779a85bca073d14ad39f9",
}


def gr00t_repositories(name: str, own_dit: bool) -> list[Repository]:
    """What a run with `--gr00t-variant` needs: the tokenizer is that of Video2World 14B."""
    folder, _, file = GR00T_DREAMS[name].rpartition("/")
    dit = Repository(
        folder,
        _GR00T_REVISIONS[name],
        (PublishedFile(file, _DIT_BYTES["14B"]),),
        _NVIDIA,
        model_type=f"sample_gr00t_dreams_{name}",
    )
    tokenizer = Repository(VARIANTS["14B"].folder, _REVISIONS["14B"], (_TOKENIZER,), _NVIDIA)
    return [*([] if own_dit else [dit]), tokenizer, *TEXT_ENCODER]


def _text2image(model_size: str, dit: list[PublishedFile]) -> Repository:
    folder = TEXT2IMAGE[model_size].folder
    return Repository(folder, _TEXT2IMAGE_REVISIONS[model_size], (*dit, _TOKENIZER), _NVIDIA)


def _distilled(model_size: str) -> Repository:
    # the originals pin a revision that is older than this file
    file = PublishedFile(text2image_file(model_size, distilled=True).rpartition("/")[2], _TEXT2IMAGE_BYTES[model_size])
    return Repository(TEXT2IMAGE[model_size].folder, "main", (file,), _NVIDIA)


def multiview_repositories(own_dit: bool) -> list[Repository]:
    """What `cosmos predict2 multiview` needs: the tokenizer is that of Video2World."""
    dit = [] if own_dit else [_single(MULTIVIEW["2B"], 3_913_000_000, _MULTIVIEW_REVISION)]
    return [*dit, _VIDEO_TOKENIZER, *TEXT_ENCODER]


def action_repositories(own_dit: bool) -> list[Repository]:
    """What `cosmos predict2 action` needs: the tokenizer is that of Video2World, and there is no text."""
    # the originals pin no revision of this one
    dit = [] if own_dit else [_single(ACTION["2B"], 4_050_000_000, "main", "sample_action_conditioned")]
    return [*dit, _VIDEO_TOKENIZER]


_VIDEO_TOKENIZER = Repository(VARIANTS["2B"].folder, _REVISIONS["2B"], (_TOKENIZER,), _NVIDIA)


def _single(variant: SampleVariant, num_bytes: int, revision: str, model_type: str = "") -> Repository:
    name = variant.dit_file.rpartition("/")[2]
    return Repository(variant.folder, revision, (PublishedFile(name, num_bytes),), _NVIDIA, model_type=model_type)


def _published_text2image(model_size: str) -> list[Repository]:
    distilled = [_distilled(model_size)] if model_size in DISTILLED else []
    return [_text2image(model_size, [_ordinary(model_size)]), *only_for("--distill-steps", distilled)]


CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    **{size: (_published(size), *TEXT_ENCODER, REASON1, *GUARDRAILS) for size in VARIANTS if size != "tiny"},
    **{
        f"text2image-{size}": (*_published_text2image(size), *TEXT_ENCODER, *GUARDRAILS)
        for size in TEXT2IMAGE
        if size != "tiny"
    },
    "multiview-2B": (*multiview_repositories(own_dit=False), *GUARDRAILS),
    "action-2B": (*action_repositories(own_dit=False), *GUARDRAILS),
    **{
        f"14B-GR00T-Dreams-{name.upper()}": (*gr00t_repositories(name, own_dit=False), *GUARDRAILS)
        for name in GR00T_DREAMS
    },
}
"""Video2World by its size, the other models by what they make and their size, to everything published for them."""
