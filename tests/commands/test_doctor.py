"""`cosmos doctor`: what it finds on machines that lack something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from cosmos_cli.testing import CommandResult
from tests.fake_nvidia_smi import FakeCard, install_driver
from tests.hub_server import TOKEN, Hub, serving
from tests.third_party import write_distribution

Cosmos = Callable[..., CommandResult]

PLUGIN = """
from cosmos_cli.hookspecs import hookimpl
from cosmos_cli.health import Finding

@hookimpl
def cosmos_register_doctor_checks(register):
    register(name="tyres", help="Looks at the tyres.", check="garage:tyres")
    register(name="brakes", help="Looks at the brakes.", check="garage:brakes")
    register(name="python", help="Looks at the snake.", check="garage:no_such_check")

def tyres(checkpoint_dir):
    return Finding("warning", f"flat in {checkpoint_dir.name}", "Pump.")

def brakes(checkpoint_dir):
    raise RuntimeError("no brakes")
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub reads its variables once, when it is imported, which is before any test."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub({})) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def checks(cosmos: Cosmos, *arguments: object) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in cosmos("doctor", "--json", *arguments).json["checks"]}


def test_every_check_of_the_core_has_a_line_and_the_machine_of_the_tests_passes(cosmos: Cosmos) -> None:
    result = cosmos("doctor", "--json")
    assert result.exit_code == 0
    assert result.json["status"] == "ok"
    found = checks(cosmos)
    assert list(found) == [
        *("python", "torch", "gpu", "attention", "video", "shared-memory", "disk", "hub", "checkpoints")
    ]
    assert all(check["fix"] for check in found.values() if check["state"] != "ok")
    assert found["video"]["state"] == "ok"
    assert "sdpa" in found["attention"]["what"]


def test_a_gpu_that_this_pytorch_cannot_use_is_a_failure(
    cosmos: Cosmos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    install_driver(tmp_path, monkeypatch, [FakeCard("GPU-1", "NVIDIA Stand-in")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert checks(cosmos)["torch"]["state"] == "failure"
    assert cosmos("doctor").exit_code == 1
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    gpu = checks(cosmos)["gpu"]
    assert gpu["state"] == "failure"
    assert "NVIDIA Stand-in, 78.1 GiB of 80.0 GiB free; the driver does not serve CUDA 13.0" in gpu["what"]


def test_what_a_stopped_download_left_is_pointed_out(cosmos: Cosmos) -> None:
    part = Path("there/nvidia/Cosmos-Transfer1-7B/.base_model.pt.0123456789ab.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"beginning")
    found = checks(cosmos, "--checkpoint-dir", "there")["checkpoints"]
    assert found["state"] == "warning"
    assert found["what"].startswith("1 files")


def test_a_model_that_is_there_in_part_is_named(cosmos: Cosmos) -> None:
    assert "no model in checkpoints" in checks(cosmos)["checkpoints"]["what"]
    folder = Path("checkpoints/nvidia/Cosmos-Transfer1-7B")
    folder.mkdir(parents=True)
    (folder / "base_model.pt").touch()
    assert checks(cosmos)["checkpoints"]["what"] == "in part: transfer/7B"


@pytest.mark.parametrize(
    ("token", "what"),
    [
        (None, "not logged in: models with a licence to accept cannot be fetched"),
        ("hf_wrong", "the Hub does not accept HF_TOKEN or the stored login"),
        (TOKEN, "logged in as tester"),
    ],
)
def test_the_login_is_tried(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, token: str | None, what: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert checks(cosmos)["hub"]["what"] == what


def test_checks_of_plugins_are_run_and_one_that_breaks_is_a_failure(
    cosmos: Cosmos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "packages", "garage", {"garage": PLUGIN}, {"garage": "garage"})
    monkeypatch.syspath_prepend(tmp_path / "packages")
    result = cosmos("doctor")
    assert result.exit_code == 1
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "warning garage:tyres flat in checkpoints" in lines
    assert lines[lines.index("warning garage:tyres flat in checkpoints") + 1] == "Pump."
    assert "failure garage:brakes the check broke (RuntimeError: no brakes)" in lines
    assert any(line.startswith("failure garage:python the check broke (CosmosError: ") for line in lines)
    assert any(line.startswith("ok python 3.") for line in lines)
