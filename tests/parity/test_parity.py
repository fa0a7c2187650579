"""Every golden file and manifest of the repository, and that a wrong number is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cosmos_cli.runtime import attention
from tests.parity.__main__ import check_golden, main
from tests.parity.manifests import check_manifest

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.safetensors")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden(path: Path) -> None:
    comparisons = check_golden(path)
    assert comparisons
    assert not [c for c in comparisons if not c.passed]


OTHER_BACKENDS = sorted(
    name
    for name, missing in attention.available_backends(torch.device("cpu"), torch.float32).items()
    if missing is None and name != "sdpa"
)


@pytest.mark.parametrize("backend", OTHER_BACKENDS)
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/dit_*.safetensors")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_attention_backend_gives_the_numbers_of_the_originals(
    path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, calls = attention.load_backend("sdpa", torch.device("cpu"), torch.float32), []
    other = attention.load_backend(backend, torch.device("cpu"), torch.float32)
    assert other is not usual

    def counted(*tensors: torch.Tensor) -> torch.Tensor:
        calls.append(backend)
        return other(*tensors)

    for dtype in (torch.float32, torch.float64):
        monkeypatch.setitem(attention._loaded, ("sdpa", torch.device("cpu"), dtype), counted)
    comparisons = check_golden(path)
    assert comparisons
    assert calls
    assert not [c for c in comparisons if not c.passed]


@pytest.mark.parametrize("path", sorted((GOLDEN / "manifests").glob("*.json")), ids=lambda p: p.stem)
def test_manifest(path: Path) -> None:
    report = check_manifest(path)
    assert report is not None
    assert report.matches, report.summary()


def rewritten(source: Path, target: Path, name: str, change: float) -> Path:
    """A copy of a golden file with one output shifted."""
    with safe_open(source, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors[name] = tensors[name] + change
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, metadata)
    return target


@pytest.mark.parametrize(("change", "exit_code"), [(5e-5, 0), (1e-3, 1), (float("nan"), 1)])
def test_a_number_past_the_tolerance_fails(tmp_path: Path, change: float, exit_code: int) -> None:
    source = GOLDEN / "tokenizer" / "wan21_vae.safetensors"
    path = rewritten(source, tmp_path / "tokenizer" / "wan21_vae.safetensors", "out.decode.L1", change)
    assert main([str(path)]) == exit_code


def test_a_file_of_the_same_kind_under_another_name_finds_its_adapter(tmp_path: Path) -> None:
    source = GOLDEN / "predict2" / "dit_14b_like.safetensors"
    for name in ("predict2/dit_14b_like_seed7.safetensors", "elsewhere/case.safetensors"):
        assert main([str(rewritten(source, tmp_path / name, "out.y", 0.0))]) == 0


def test_an_unknown_kind_and_a_wrong_manifest_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"out.x": torch.zeros(1)}, tmp_path / "unknown.safetensors", {"source": "nowhere:Nothing"})
    manifest = json.loads((GOLDEN / "manifests" / "vae_wan2.1.json").read_text())
    manifest["decoder.conv9.weight"] = manifest.pop("decoder.conv1.weight")
    (tmp_path / "vae_wan2.1.json").write_text(json.dumps(manifest))
    assert main([str(tmp_path / "unknown.safetensors")]) == 1
    assert main([str(tmp_path / "vae_wan2.1.json")]) == 1
    assert "decoder.conv9.weight" in capsys.readouterr().out


def test_the_command_prints_errors_per_output() -> None:
    path = GOLDEN / "sampler" / "predict2_ab2.safetensors"
    command = [sys.executable, "-m", "tests.parity", str(path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "min0.002.max80.steps35.f64" in printed
    assert "max abs" in printed
    assert "relative" in printed
