"""The GPUs that a process started here would see, as NVIDIA's driver tells: in milliseconds, and without CUDA."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cosmos_cli.runtime.host import host_memory

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


@dataclass(frozen=True)
class Gpu:
    """One device as CUDA counts them: a GPU, or the slice of one that a MIG instance is.

    total_bytes, free_bytes: its memory; the host's where both share it.
    share: of the GPU's multiprocessors, less than 1 for a slice.
    is_sure: False where it may be another one of the GPUs here that CUDA counts at this place.
    """

    name: str
    total_bytes: int
    free_bytes: int
    share: float = 1.0
    is_sure: bool = True


@dataclass(frozen=True)
class _Device:
    """A GPU, or a slice of one. names: those that CUDA_VISIBLE_DEVICES may give in full or by their beginning."""

    names: tuple[str, ...]
    gpu: Gpu
    is_slice: bool = False


@dataclass(frozen=True)
class _Card:
    """A GPU as the driver lists it. speed: by which different GPUs are ordered. slices: None if it is whole."""

    device: _Device
    speed: tuple[float, int]
    slices: tuple[_Device, ...] | None = None

    @property
    def seen(self) -> _Device | None:
        """What CUDA makes of it: of a GPU in slices the first, and nothing before it has any."""
        if self.slices is None:
            return self.device
        return self.slices[0] if self.slices else None


_FIELDS = ("uuid", "name", "memory.total", "memory.free", "mig.mode.current", "compute_cap")
_UNTOLD = ("[N/A]", "N/A", "[Not Supported]")


def find_gpus(variables: Mapping[str, str] | None = None) -> list[Gpu]:
    """The GPUs that CUDA would count, in its order; none without NVIDIA's driver.

    CUDA numbers GPUs of different kinds by a speed that it tells nobody, unless CUDA_DEVICE_ORDER=PCI_BUS_ID: the
    order is a guess then, and the GPUs say so. It counts a single slice, and no whole GPU beside it.

    Args:
        variables: the environment; None for that of this process.
    """
    environment = os.environ if variables is None else variables
    cards = _cards()
    if environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len({card.device.gpu.name for card in cards}) > 1:
        cards = [_guessed(card) for card in sorted(cards, key=lambda card: card.speed, reverse=True)]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    devices = [card.seen for card in cards] if visible is None else _chosen(visible, cards)
    seen = [device for device in devices if device is not None]
    slices = [device for device in seen if device.is_slice]
    return [device.gpu for device in slices[:1] or seen]


def _chosen(visible: str, cards: Sequence[_Card]) -> list[_Device | None]:
    """What CUDA_VISIBLE_DEVICES chooses: all up to the first that there is not, and nothing if one comes twice."""
    chosen: list[_Device | None] = []
    for name in visible.split(","):
        number = re.match(r"\+?\d+", name.strip())  # what follows the digits does not count
        if visible.lstrip().startswith(("GPU-", "MIG-")):
            found = _named(name.strip(), cards)
        elif number and int(number[0]) < len(cards):
            found = [cards[int(number[0])].seen]
        else:
            found = []
        if not found:
            break
        if found[0] is not None and found[0] in chosen:
            return []
        chosen += found
    return chosen


def _named(name: str, cards: Sequence[_Card]) -> list[_Device | None]:
    """The one GPU or slice whose name begins so; nothing if there is none, or several."""

    def is_meant(device: _Device) -> bool:
        return bool(name) and any(full.startswith(name) for full in device.names)

    # a name leaves no doubt, whatever the order
    whole = [_sure(card.seen) for card in cards if is_meant(card.device)]
    slices = [_sure(device) for card in cards for device in card.slices or () if is_meant(device)]
    found = [*whole, *slices]
    return found if len(found) == 1 else []


def _guessed(card: _Card) -> _Card:
    gpu = replace(card.device.gpu, is_sure=False)
    slices = card.slices and tuple(replace(each, gpu=replace(each.gpu, is_sure=False)) for each in card.slices)
    return replace(card, device=replace(card.device, gpu=gpu), slices=slices)


def _sure(device: _Device | None) -> _Device | None:
    return device and replace(device, gpu=replace(device.gpu, is_sure=True))


def _cards() -> list[_Card]:
    """All GPUs by their place on the bus; none if the driver does not answer."""
    try:
        rows = [
            [cell.strip() for cell in line.split(",")]
            for line in _ask(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits").splitlines()
            if line.strip()
        ]
        are_sliced = any(row[4] == "Enabled" for row in rows)
        slices = _slices() if are_sliced else {}
        return [_card(*row, slices=slices) for row in rows]
    except (OSError, subprocess.SubprocessError, SyntaxError, ValueError, LookupError, TypeError):
        return []  # a driver that does not answer is none to compute with


def _card(
    uuid: str, name: str, total: str, free: str, mig: str, capability: str, *, slices: Mapping[str, list[_Device]]
) -> _Card:
    if total in _UNTOLD:
        total_bytes, free_bytes = host_memory()  # they share it, and so the GPU has none of its own to tell of
    else:
        total_bytes = _mebibytes(total)
        free_bytes = total_bytes if free in _UNTOLD else _mebibytes(free)  # untold of one in slices
    speed = float(capability) if capability[:1].isdigit() else 0.0
    device = _Device((uuid,), Gpu(name, total_bytes, free_bytes))
    if mig != "Enabled":
        return _Card(device, (speed, total_bytes))
    named = [replace(each, gpu=replace(each.gpu, name=f"{name} {each.gpu.name}")) for each in slices.get(uuid, [])]
    return _Card(device, (speed, total_bytes), tuple(named))


def _slices() -> dict[str, list[_Device]]:
    """UUID of a GPU to its slices. Their memory stands in one answer of the driver, and their names in another."""
    from xml.etree import ElementTree  # whose errors are SyntaxErrors

    listed: dict[tuple[str, int], tuple[str, str]] = {}
    card = ""
    for line in _ask("-L").splitlines():
        if found := re.match(r"GPU \d+: .*\(UUID: (\S+)\)", line):
            card = found[1]
        elif found := re.match(r"\s+(MIG \S+)\s+Device\s+(\d+): \(UUID: (\S+)\)", line):
            listed[card, int(found[2])] = found[1], found[3]
    slices: dict[str, list[_Device]] = {}
    for gpu in ElementTree.fromstring(_ask("-q", "-x")).iter("gpu"):
        uuid = _text(gpu, "uuid")
        for each in gpu.iter("mig_device"):
            profile, name = listed[uuid, int(_text(each, "index"))]
            older_name = f"MIG-{uuid}/{_text(each, 'gpu_instance_id')}/{_text(each, 'compute_instance_id')}"
            total, free = (_mebibytes(_text(each, f"fb_memory_usage/{which}")) for which in ("total", "free"))
            found_gpu = Gpu(profile, total, free, share=_share(profile))
            slices.setdefault(uuid, []).append(_Device((name, older_name), found_gpu, is_slice=True))
    return slices


def _share(profile: str) -> float:
    """Of the seven slices that every GPU has: "MIG 1g.5gb" is one, and "MIG 1c.3g.20gb" one of three."""
    number = re.search(r"(\d+)c\.", profile) or re.search(r"(\d+)g\.", profile)
    return int(number[1]) / 7 if number else 1.0


def _mebibytes(amount: str) -> int:
    return int(amount.removesuffix("MiB")) << 20


def _text(element: Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise LookupError(path)
    return found.strip()


def _ask(*options: str) -> str:
    """What `nvidia-smi` answers. Raises OSError or SubprocessError if it does not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise FileNotFoundError("nvidia-smi")
    return subprocess.run([program, *options], capture_output=True, text=True, timeout=10, check=True).stdout
