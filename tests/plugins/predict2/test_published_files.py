"""Which published files a run opens, what it says of those that are not there, and how they are fetched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict2.checkpoints import CATALOGUE
from cosmos_plugins.predict2.variants import GR00T_PREFIX, VARIANTS

Cosmos = Callable[..., CommandResult]

T5 = Path("checkpoints/google-t5/t5-11b")
REST = ("--model", "14B", "--num-frames", 9, "--num-steps", 1, "--disable-guardrail", "--disable-prompt-refiner")


def words(text: str) -> str:
    """What a panel says, unwrapped."""
    return " ".join(text.replace("│", " ").split())


def put(path: Path, source: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)


def put_text_encoder(*, whole: bool = False, copy: bool = False) -> None:
    """T5 in the published layout: Google's float32 pickle in the oldest format, or NVIDIA's bfloat16 copy, or both."""
    tiny = TINY_ROOT / VARIANTS["tiny"].text_encoder
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        put(T5 / name, tiny / name)
    if whole:
        settings = json.loads((T5 / "config.json").read_text())
        del settings["dtype"]  # Google's configuration says nothing of it
        (T5 / "config.json").write_text(json.dumps(settings))
        # not what the bfloat16 copy rounds to, so that the two can be told apart
        weights = {key: tensor.float() * 1.001 for key, tensor in load_file(tiny / "model.safetensors").items()}
        torch.save(weights, T5 / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    if copy:
        for name in ("config.json", "model.safetensors"):
            put(T5 / "text_encoder" / name, tiny / name)


@pytest.fixture
def as_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 14B model in the size of the tiny one, under the published names."""
    tiny, published = VARIANTS["tiny"], VARIANTS["14B"]
    sizes = {"480": tiny.sizes["tiny"], "720": tiny.sizes["tiny"]}
    small = replace(
        tiny, folder=published.folder, text_encoder=published.text_encoder, sizes=sizes, default_resolution="720"
    )
    monkeypatch.setitem(VARIANTS, "14B", small)
    put(Path("checkpoints", published.tokenizer_file), TINY_ROOT / tiny.tokenizer_file)


@pytest.fixture
def dit(as_tiny: None) -> Path:
    path = Path("checkpoints", VARIANTS["14B"].folder, "model-720p-16fps.pt")
    put(path, TINY_ROOT / VARIANTS["tiny"].folder / "model-tiny.pt")
    return path


def names_of(model: str) -> dict[str, PublishedFile]:
    return {f"{repository.name}/{file.path}": file for repository in CATALOGUE[model] for file in repository.files}


@pytest.mark.parametrize("size", ["0.6B", "2B", "14B"])
def test_distilled_weights_are_listed_where_they_are_published_at_the_revision_that_has_them(size: str) -> None:
    name = f"nvidia/Cosmos-Predict2-{size}-Text2Image"
    files = {
        file.path: (file, repository) for repository in CATALOGUE[f"text2image-{size}"] for file in repository.files
    }
    assert not files["model.pt"][0].is_optional
    assert ("model_distilled.pt" in files) == (size == "0.6B")
    if size == "0.6B":
        file, repository = files["model_distilled.pt"]
        assert (repository.name, repository.revision, file.only_for) == (name, "main", "--distill-steps")
        assert files["model.pt"][1].revision != "main"


def test_a_distilled_run_says_how_to_get_its_weights_and_an_ordinary_one_does_not_miss_them(cosmos: Cosmos) -> None:
    line = ("predict2", "text2image", "--model", "0.6B", "--prompt", "A bus.")
    distilled = words(cosmos(*line, "--distill-steps", 2).stderr)
    weights = "nvidia/Cosmos-Predict2-0.6B-Text2Image/model_distilled.pt"
    assert f"cosmos download predict2/text2image-0.6B {weights}" in distilled
    assert "model_distilled.pt missing (1.2 GB" in distilled or "model_distilled.pt, tokenizer" in distilled
    assert "model_distilled" not in cosmos(*line).stderr
    [file] = cosmos(
        *("download", "nvidia/Cosmos-Predict2-0.6B-Text2Image/model_distilled.pt", "--dry-run", "--json")
    ).json["files"]
    assert (file["path"].rpartition("/")[2], file["optional"]) == ("model_distilled.pt", False)


@pytest.mark.parametrize("kind", ["text2image", "text2world"])
def test_a_size_without_published_distilled_weights_says_so(cosmos: Cosmos, kind: str) -> None:
    result = cosmos("predict2", kind, "--model", "2B", "--prompt", "A bus.", "--distill-steps", 2, "--json")
    assert result.exit_code == 4
    [problem] = [problem for problem in result.json["problems"] if "distilled" in problem["what"]]
    assert "published are those of 0.6B" in problem["what"]
    assert not any("model_distilled" in str(problem["fix"]) for problem in result.json["problems"])


def test_every_video2world_model_has_one_set_of_weights_that_no_option_asks_for() -> None:
    for size in ("2B", "14B"):
        folder = f"nvidia/Cosmos-Predict2-{size}-Video2World"
        uses = {path: file.only_for for path, file in names_of(size).items() if path.startswith(f"{folder}/model-")}
        assert uses == {
            f"{folder}/model-720p-16fps.pt": "",
            f"{folder}/model-720p-10fps.pt": "--fps 10",
            f"{folder}/model-480p-16fps.pt": "--resolution 480",
            f"{folder}/model-480p-10fps.pt": "--resolution 480 --fps 10",
            f"{folder}/model-720p-16fps-natten.pt": "--natten",
            f"{folder}/model-720p-10fps-natten.pt": "--fps 10 --natten",
        }


@pytest.mark.parametrize("robot", ["GR1", "DROID"])
def test_gr00t_dreams_can_be_fetched_and_a_run_says_how(cosmos: Cosmos, picture: Path, robot: str) -> None:
    weights = f"nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-{robot}/model-480p-16fps.pt"
    document = cosmos("download", f"14B-GR00T-Dreams-{robot}", "--dry-run", "--json").json
    paths = [file["path"] for file in document["files"]]
    assert paths[:2] == [weights, "nvidia/Cosmos-Predict2-14B-Video2World/tokenizer/tokenizer.pth"]
    assert not any("Reason1" in path or "Video2World/model" in path for path in paths)
    result = cosmos(
        *("predict2", "video2world", "--model-size", "14B", "--gr00t_variant", robot.lower()),
        *("--input-path", picture, "--prompt", "Lift the lid."),
    )
    assert result.exit_code == 4
    assert f"cosmos download predict2/14B-GR00T-Dreams-{robot}" in words(result.stderr)
    assert "model-720p" not in result.stderr and "Reason1" not in result.stderr


def test_a_gr00t_run_reads_its_own_weights_and_its_own_beginning_of_the_prompt(
    cosmos: Cosmos, picture: Path, as_tiny: None
) -> None:
    put(
        Path("checkpoints/nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-GR1/model-480p-16fps.pt"),
        TINY_ROOT / VARIANTS["tiny"].folder / "model-tiny.pt",
    )
    put_text_encoder(copy=True)
    line = ("predict2", "video2world", "--gr00t-variant", "gr1", "--input-path", picture, "--prompt", "Lift the lid.")
    options = [option for option in REST if option != "--disable-prompt-refiner"]
    for name, more, prompt in (
        ("a", (), f"{GR00T_PREFIX}Lift the lid."),
        ("b", ("--prompt_prefix", ""), "Lift the lid."),
    ):
        result = cosmos(*line, *options, *more, "--save-path", f"{name}.mp4")
        assert result.exit_code == 0, result.stderr
        sidecar = json.loads(Path(f"{name}.json").read_text())
        assert sidecar["prompt_used"] == prompt
        assert sidecar["refined_by"] == []
        assert "GR00T-Dreams-GR1" in sidecar["weights"]["dit"]["path"]
        assert "Video2World" in sidecar["weights"]["tokenizer"]["path"]
    again = cosmos("predict2", "video2world", "--from-file", "a.json", "--save-path", "c.mp4")
    assert again.exit_code == 0, again.stderr
    assert Path("c.mp4").read_bytes() == Path("a.mp4").read_bytes() != Path("b.mp4").read_bytes()


@pytest.mark.parametrize(
    "more", [("--model", "2B"), ("--resolution", "720"), ("--fps", 10), ("--refiner-url", "http://a")]
)
def test_gr00t_has_one_size_resolution_and_rate(cosmos: Cosmos, picture: Path, more: tuple[object, ...]) -> None:
    line = ("--gr00t-variant", "gr1", "--input-path", picture, "--prompt", "Lift the lid.")
    size = () if "--model" in more else ("--model", "14B")
    result = cosmos("predict2", "video2world", *line, *size, *more)
    assert result.exit_code == 2
    assert "--gr00t-variant" in result.stderr


def video(cosmos: Cosmos, picture: Path, name: str, *more: object) -> CommandResult:
    line = ("predict2", "video2world", "--input-path", picture, "--prompt", "The slope drifts on.")
    return cosmos(*line, *REST, "--save-path", f"{name}.mp4", *more)


def test_the_sidecar_says_which_text_encoder_it_was_and_makes_the_video_again_with_it(
    cosmos: Cosmos, picture: Path, dit: Path
) -> None:
    put_text_encoder(copy=True)
    assert video(cosmos, picture, "a").exit_code == 0
    sidecar = json.loads(Path("a.json").read_text())
    told = sidecar["text_encoder"]
    assert Path(told["path"]) == (T5 / "text_encoder").absolute()
    assert (told["stored_in"], told["computes_in"]) == ("bfloat16", "float32")
    assert "third digit" in told["note"]
    assert sidecar["request"]["text_encoder"] == "bf16"

    put_text_encoder(whole=True, copy=True)
    assert video(cosmos, picture, "b").exit_code == 0
    told = json.loads(Path("b.json").read_text())["text_encoder"]
    assert (told["stored_in"], "note" in told) == ("float32", False)
    assert Path("b.mp4").read_bytes() != Path("a.mp4").read_bytes()
    for source, name in (("a", "c"), ("b", "d")):
        again = cosmos("predict2", "video2world", "--from-file", f"{source}.json", "--save-path", f"{name}.mp4")
        assert again.exit_code == 0, again.stderr
        assert Path(f"{name}.mp4").read_bytes() == Path(f"{source}.mp4").read_bytes()


@pytest.mark.parametrize(
    ("form", "there", "command"),
    [
        ("fp32", "copy", "cosmos download google-t5/t5-11b/pytorch_model.bin"),
        ("bf16", "whole", "cosmos download nvidia/Cosmos-1.0-Diffusion-7B-Text2World/text_encoder/"),
    ],
)
def test_the_other_form_of_the_text_encoder_is_named_with_the_line_that_fetches_it(
    cosmos: Cosmos, picture: Path, dit: Path, form: str, there: str, command: str
) -> None:
    put_text_encoder(whole=there == "whole", copy=there == "copy")
    result = video(cosmos, picture, "a", "--text-encoder", form, "--json")
    assert result.exit_code == 4
    assert result.json["problems"][0]["fix"] == command
    # the line fetches it, although what is there would do for other runs
    [file] = cosmos(*command.split()[1:], "--dry-run", "--json").json["files"]
    assert file["state"] == "missing"
    planned = video(cosmos, picture, "a", "--text-encoder", form, "--plan", "--json").json
    missing = [Path(entry["path"]) for entry in planned["files"]["needed"] if not entry["is_present"]]
    assert missing == [Path("checkpoints", file["path"])]


def test_weights_of_another_precision_under_the_name_of_googles_file_are_refused(
    cosmos: Cosmos, picture: Path, dit: Path
) -> None:
    put_text_encoder()
    put(T5 / "model.safetensors", TINY_ROOT / VARIANTS["tiny"].text_encoder / "model.safetensors")
    assert video(cosmos, picture, "a").exit_code == 0
    result = video(cosmos, picture, "b", "--text-encoder", "fp32")
    assert result.exit_code == 4
    assert "in float32; it holds model.safetensors in bfloat16" in words(result.stderr)


def test_no_repository_is_called_free_that_may_not_be() -> None:
    of_others = {"google-t5/t5-11b", "google/siglip-so400m-patch14-384"}
    everything: set[Repository] = {repository for model in CATALOGUE.values() for repository in model}
    assert {repository.name for repository in everything if repository.gated is False} == of_others
    assert {repository.name for repository in everything if repository.gated} == {"meta-llama/Llama-Guard-3-8B"}
