"""What can be downloaded, and what to say when it has not been."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

DEFAULT_ROOT = Path("checkpoints")
"""The checkpoint folder if none is named."""


@dataclass(frozen=True)
class PublishedFile:
    """One file of a repository, or a folder with all that is in it.

    path: inside the repository; that of a folder ends with "/", and only the Hub knows the names in it.
    num_bytes: size, or what follows from the parameter count where the repository's own figure is not known.
    is_read_if_there: whether every run does without it.
    only_for: the option or the control whose runs open it, where no others do.
    """

    path: str
    num_bytes: int
    is_read_if_there: bool = False
    only_for: str = ""

    @property
    def is_optional(self) -> bool:
        """Whether a run with no special wish does without it."""
        return self.is_read_if_there or bool(self.only_for)

    @property
    def is_folder(self) -> bool:
        """Whether it stands for all files under its path."""
        return self.path.endswith("/")

    def bytes_in(self, folder: Path) -> int | None:
        """What is there of it in the folder of its repository; None if it is missing.

        A folder is there if it holds files, and none of them is one that a download began and did not end.
        """
        path = folder / self.path
        if not self.is_folder:
            return path.stat().st_size if path.is_file() else None
        files = [file for file in path.rglob("*") if file.is_file()]
        if not files or any(file.match(".*.part") for file in files):
            return None
        return sum(file.stat().st_size for file in files)


@dataclass(frozen=True)
class Repository:
    """Files of one Hugging Face repository, at one revision, that belong together.

    name: "organisation/repository"; also the folder under the checkpoint folder, as in the original layout.
    revision: the commit that the originals pin.
    gated: whether Hugging Face asks every user to accept the licence first; None where that is not known.
    kind: what the Hub calls it; data sets have addresses of their own there.
    cached_in: folder under the checkpoint folder in which the originals have the Hub's client keep it, if they do.
    belongs_to: repository in whose folder it lies instead of one of its own.
    other_forms: files of the folder any of which serves as well, if it is there, so that nothing is missing.
    also_in: other folders under the checkpoint folder in which originals keep it, where it serves as well.
    note: what a user should know of these files before fetching them.
    model_type: what the originals' scripts call the models that are fetched with it, where their names do not say it.
    """

    name: str
    revision: str
    files: tuple[PublishedFile, ...]
    licence: str
    gated: bool | None = None
    kind: Literal["model", "dataset"] = "model"
    cached_in: str | None = None
    belongs_to: str | None = None
    other_forms: tuple[str, ...] = ()
    also_in: tuple[str, ...] = ()
    note: str = ""
    model_type: str = ""

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.num_bytes for file in self.files)

    @property
    def access(self) -> str:
        """Whether its licence must be accepted first, in words; empty where everybody may have it."""
        return {True: "gated", False: "", None: "may be gated"}[self.gated]

    @property
    def has_folders(self) -> bool:
        """Whether only the Hub knows all of its files."""
        return any(file.is_folder for file in self.files)

    def folder(self, root: Path) -> Path:
        """Where it lies: under its name, or complete where the originals keep it."""
        places = [root / (self.belongs_to or self.name), *(root / folder for folder in self.also_in)]
        if self.cached_in is not None:
            cache = root / self.cached_in / f"models--{self.name.replace('/', '--')}"
            places += sorted(cache.glob("snapshots/*"))
        return next((place for place in places if not self._missing_in(place)), places[0])

    def missing(self, root: Path) -> list[PublishedFile]:
        """The files that are not under the checkpoint folder `root`, optional ones apart."""
        return [] if self.form_in(root) else self._missing_in(self.folder(root))

    def optional_missing(self, root: Path) -> list[PublishedFile]:
        """The optional files that are not under the checkpoint folder `root`."""
        folder = self.folder(root)
        return [file for file in self.files if file.is_optional and file.bytes_in(folder) is None]

    def has_any(self, root: Path) -> bool:
        """Whether some of it is under the checkpoint folder `root`."""
        folder = self.folder(root)
        return self.form_in(root) is not None or any(file.bytes_in(folder) is not None for file in self.files)

    def form_in(self, root: Path) -> Path | None:
        """The other form of these files that is under the checkpoint folder, so that none of them is needed."""
        folder = self.folder(root)
        return next((folder / name for name in self.other_forms if (folder / name).is_file()), None)

    def _missing_in(self, folder: Path) -> list[PublishedFile]:
        return [file for file in self.files if not file.is_optional and file.bytes_in(folder) is None]


def only_for(what: str, repositories: Iterable[Repository]) -> tuple[Repository, ...]:
    """The same files, as those that only runs with this option or control open."""
    return tuple(
        replace(repository, files=tuple(replace(file, only_for=what) for file in repository.files))
        for repository in repositories
    )


def asked_for(repository: Repository) -> Repository:
    """The same files for somebody who asks for whatever it is that only some runs open."""
    return replace(repository, files=tuple(replace(file, only_for="") for file in repository.files))


T5_11B = Repository(
    "google-t5/t5-11b",
    "90f37703b3334dfe9d2b009bfcbfbf1ac9d28ea3",
    (PublishedFile("config.json", 1_200), PublishedFile("tokenizer.json", 1_390_000)),
    "Apache-2.0",
    gated=False,
)
"""What both forms of the text encoder are read with."""

WHOLE_MODEL = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.safetensors", "model.safetensors.index.json")
"""Names under which the whole of T5 may lie in its folder, beside its decoder."""

T5_BFLOAT16 = Repository(
    "nvidia/Cosmos-1.0-Diffusion-7B-Text2World",
    "main",
    (PublishedFile("text_encoder/", 9_730_000_000),),
    "NVIDIA Open Model License",
    belongs_to=T5_11B.name,
    other_forms=WHOLE_MODEL,
    note=(
        "the text encoder is NVIDIA's bfloat16 copy of T5-11B: embeddings differ in the third digit from those of the "
        "originals, which read Google's float32 file (--text-encoder fp32)"
    ),
)
"""The half of T5 that is used, in bfloat16, as NVIDIA publishes it for diffusers: google-t5 has all of it, 45 GB."""

T5_FLOAT32 = replace(T5_11B, files=(PublishedFile(WHOLE_MODEL[0], 45_200_000_000),), other_forms=WHOLE_MODEL[1:])
"""The model that the originals read: float32, with a decoder that no run opens."""

TEXT_ENCODER = (T5_11B, T5_BFLOAT16)
"""The text encoder of every family; the whole model serves as well."""

TEXT_ENCODER_FORMS: Mapping[str, tuple[Repository, ...]] = {
    "auto": TEXT_ENCODER,
    "bf16": (T5_11B, replace(T5_BFLOAT16, other_forms=())),
    "fp32": (T5_11B, T5_FLOAT32),
}
"""What `--text-encoder` says to the files that it needs."""


def with_text_encoder(form: str, repositories: Iterable[Repository]) -> list[Repository]:
    """The same files, with the text encoder, where it is among them, in the form that `--text-encoder` names."""
    _, weights = TEXT_ENCODER_FORMS[form]
    return [weights if repository == T5_BFLOAT16 else repository for repository in repositories]


VIDEO_TOKENIZER = Repository(
    "nvidia/Cosmos-Tokenize1-CV8x8x8-720p",
    "main",
    (PublishedFile("autoencoder.jit", 211_000_000), PublishedFile("mean_std.pt", 3_000)),
    "NVIDIA Open Model License",
    also_in=("Cosmos-Tokenize1-CV8x8x8-720p",),
)
"""The tokenizer of the EDM families."""


def is_published_tokenizer(name: str) -> bool:
    """Whether a folder under the checkpoint folder is that of `VIDEO_TOKENIZER`."""
    return name == VIDEO_TOKENIZER.name.rpartition("/")[2]


BLOCKLIST = "blocklist"
CONTENT_CLASSIFIER = PublishedFile("video_content_safety_filter/safety_filter.pt", 2_910_000)
FACE_DETECTOR = PublishedFile("face_blur_filter/Resnet50_Final.pth", 109_498_000)

COSMOS_GUARDRAIL = Repository(
    "nvidia/Cosmos-Guardrail1",
    "d6d4bfa899a71454a700907664f3e88f503950cf",
    (
        PublishedFile(f"{BLOCKLIST}/custom/", 100_000),
        PublishedFile(f"{BLOCKLIST}/exact_match/", 100_000),
        PublishedFile(f"{BLOCKLIST}/whitelist/", 10_000),
        PublishedFile(f"{BLOCKLIST}/nltk_data/corpora/", 50_000_000),
        CONTENT_CLASSIFIER,
        FACE_DETECTOR,
    ),
    "NVIDIA Open Model License",
)
"""Word lists, and the networks that look at videos. The sizes of its folders are guesses."""

LLAMA_GUARD = Repository(
    "meta-llama/Llama-Guard-3-8B",
    "7327bd9f6efbbe6101dc6cc4736302b3cbb6e425",
    (
        PublishedFile("config.json", 900),
        PublishedFile("generation_config.json", 200, is_read_if_there=True),
        PublishedFile("special_tokens_map.json", 300, is_read_if_there=True),
        PublishedFile("tokenizer.json", 9_086_000),
        PublishedFile("tokenizer_config.json", 53_000),
        PublishedFile("model.safetensors.index.json", 24_000),
        PublishedFile("model-00001-of-00004.safetensors", 4_977_000_000),
        PublishedFile("model-00002-of-00004.safetensors", 5_000_000_000),
        PublishedFile("model-00003-of-00004.safetensors", 4_916_000_000),
        PublishedFile("model-00004-of-00004.safetensors", 1_168_000_000),
    ),
    "Llama 3.1 Community License",
    gated=True,
)
"""What judges prompts."""

SIGLIP = Repository(
    "google/siglip-so400m-patch14-384",
    "main",
    (PublishedFile("config.json", 600), PublishedFile("model.safetensors", 3_512_000_000)),
    "Apache-2.0",
    gated=False,
    cached_in=f"{COSMOS_GUARDRAIL.name}/video_content_safety_filter",
)
"""The image encoder of the content filter; the originals pin no revision."""

GUARDRAILS = (COSMOS_GUARDRAIL, LLAMA_GUARD, SIGLIP)
"""What every run that makes pictures opens, unless it may do without guardrails."""

DATA_SETS = (
    Repository(
        "nvidia/Cosmos-NeMo-Assets",
        "main",
        (PublishedFile("nemo_diffusion_example_data/", 100_000_000),),
        "see its page",
        kind="dataset",
    ),
)
"""Example videos for post-training, which belong to no model. The size is a guess."""


def folder_named(root: Path, name: str) -> Path:
    """A folder of NVIDIA's files under the checkpoint folder: with the organisation in front or, as in originals, not.

    Args:
        name: the last part of the repository's name.
    """
    places = (root / "nvidia" / name, root / name)
    return next((place for place in places if place.is_dir()), places[0])


def download_command(what: Iterable[str], root: Path, controls: Sequence[str] = ()) -> str:
    """The command line that fetches families, models, repositories or files into the checkpoint folder `root`.

    Args:
        controls: of families and models only what these control modalities need.
    """
    chosen = ["--controls", ",".join(controls)] if controls else []
    place = [] if root == DEFAULT_ROOT else ["--checkpoint-dir", str(root)]
    return shlex.join(["cosmos", "download", *dict.fromkeys(what), *chosen, *place])
