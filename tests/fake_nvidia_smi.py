"""An `nvidia-smi` that tells of GPUs which are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class FakeSlice:
    """A MIG instance. ids: its GPU instance and its compute instance."""

    uuid: str
    profile: str
    ids: tuple[int, int]
    total_mib: int
    free_mib: int


@dataclass(frozen=True)
class FakeCard:
    """A GPU. slices: None where it is whole."""

    uuid: str
    name: str
    total_mib: int | str = 81920
    free_mib: int | str = 80000
    capability: str = "8.0"
    slices: Sequence[FakeSlice] | None = None


A100 = FakeCard("GPU-aaaa1111-0000", "NVIDIA A100-SXM4-80GB")
SECOND_A100 = FakeCard("GPU-aaaa2222-0000", "NVIDIA A100-SXM4-80GB", free_mib=1000)
T400 = FakeCard("GPU-bbbb1111-0000", "NVIDIA T400", 2048, 1900, "7.5")
SLICED = FakeCard(
    "GPU-cccc1111-0000",
    "NVIDIA A100-SXM4-80GB",
    free_mib="[N/A]",
    slices=[
        FakeSlice("MIG-1111aaaa-0000", "3g.40gb", (2, 0), 40448, 40150),
        FakeSlice("MIG-2222bbbb-0000", "1g.10gb", (9, 0), 9728, 9700),
    ],
)


def install_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, cards: Sequence[FakeCard]) -> None:
    """Have `nvidia-smi` tell of these GPUs, in the order of the bus; no variable chooses among them yet."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    answers = {"--query-gpu*": map(_row, cards), "-L": map(_listed, range(len(cards)), cards), "-q": [_xml(cards)]}
    cases = "".join(f"{option}) cat <<'END'\n{chr(10).join(lines)}\nEND\n;;\n" for option, lines in answers.items())
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def _row(card: FakeCard) -> str:
    mig = "[N/A]" if card.slices is None else "Enabled"
    return ", ".join(map(str, (card.uuid, card.name, card.total_mib, card.free_mib, mig, card.capability)))


def _listed(number: int, card: FakeCard) -> str:
    lines = [f"GPU {number}: {card.name} (UUID: {card.uuid})"]
    for place, one in enumerate(card.slices or ()):
        lines.append(f"  MIG {one.profile:<15} Device {place:>2}: (UUID: {one.uuid})")
    return "\n".join(lines)


def _xml(cards: Sequence[FakeCard]) -> str:
    head = '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">'
    return f"{head}\n<nvidia_smi_log>{''.join(map(_xml_of_card, cards))}</nvidia_smi_log>"


def _xml_of_card(card: FakeCard) -> str:
    slices = [
        f"<mig_device><index>{place}</index><gpu_instance_id>{one.ids[0]}</gpu_instance_id>"
        f"<compute_instance_id>{one.ids[1]}</compute_instance_id><fb_memory_usage><total>{one.total_mib} MiB</total>"
        f"<used>1 MiB</used><free>{one.free_mib} MiB</free></fb_memory_usage></mig_device>"
        for place, one in enumerate(card.slices or ())
    ]
    return (
        f'<gpu id="00000000:15:00.0"><product_name>{card.name}</product_name>'
        f"<mig_devices>{''.join(slices) or 'None'}</mig_devices><uuid>{card.uuid}</uuid></gpu>"
    )
