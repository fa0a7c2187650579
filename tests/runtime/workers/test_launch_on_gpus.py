"""`--num-gpus` with a mocked driver and NCCL: from the launcher to the first collective, on a machine without a GPU."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.third_party import run_script, write_distribution

DRIVER = f"""#!{sys.executable} -SE
import sys

for i in range(8):
    known = {{"index": i, "uuid": f"GPU-{{i}}", "name": "NVIDIA H100 80GB HBM3", "memory.total": 81559}}
    known |= {{"memory.free": 80000 - i * 100, "mig.mode.current": "Disabled", "compute_cap": "9.0"}}
    for argument in sys.argv:
        if argument.startswith("--query-gpu="):
            print(", ".join(str(known[field]) for field in argument.partition("=")[2].split(",")))
        elif argument == "-L":
            print(f"GPU {{i}}: {{known['name']}} (UUID: {{known['uuid']}})")
"""
BOARD = '''
"""GPUs that are not there: what a worker asks CUDA is answered and noted, and gloo carries what NCCL would."""

import importlib.metadata
import json
import os
from functools import wraps
from pathlib import Path
from types import SimpleNamespace

import typer
from cosmos_cli import output
from cosmos_cli.flags import JsonFlag
from cosmos_cli.errors import CosmosError
from cosmos_cli.hookspecs import hookimpl
from cosmos_cli.runtime.workers.launch import spread

@hookimpl
def cosmos_register_families(register):
    register(name="board", help="Runs on GPUs.", commands="board:app")

app = typer.Typer()

@app.callback()
def board() -> None:
    """Runs on GPUs."""

version = importlib.metadata.version
importlib.metadata.version = lambda name: version(name).removesuffix("+cpu")  # PyTorch was built for GPUs

def mock_cuda():
    import torch
    import torch.distributed as dist

    noted = {"set": [], "backends": [], "asked": []}
    current = [0]

    def set_device(device):
        index = device if isinstance(device, int) else torch.device(device).index
        assert index is not None, "a device without index"  # as CUDA has it
        noted["set"].append(index)
        current[0] = index

    def mem_get_info(device=None):
        index = torch.device(device if device is not None else "cuda").index
        index = current[0] if index is None else index
        noted["asked"].append(index)
        return (80_000 - index * 100) << 20, 81_559 << 20

    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: len(visible())
    torch.cuda.current_device = lambda: current[0]
    torch.cuda.set_device = set_device
    torch.cuda.mem_get_info = mem_get_info
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(uuid=f"GPU-{visible()[device]}")
    init = dist.init_process_group

    @wraps(init)
    def init_process_group(backend=None, **more):
        noted["backends"].append(backend)
        init("cpu:gloo,cuda:gloo", **more)

    dist.init_process_group = init_process_group
    return noted

def visible():
    return [int(index) for index in os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7").split(",")]

@app.command()
def add(num_gpus: int = 1, device: str = "auto", fail_at: int = -1, json_: JsonFlag = False) -> None:
    """Add up the ranks."""
    noted = mock_cuda() if "RANK" in os.environ else {}
    with spread(num_gpus, device):
        import torch
        import torch.distributed as dist
        from cosmos_cli.runtime.devices import choose_device
        from cosmos_cli.runtime.memory.placement import plan_for_device
        from cosmos_cli.runtime.memory.residence import NetworkSize, Stage
        from cosmos_cli.runtime.workers.mesh import axis_group
        from cosmos_cli.runtime.workers.team import Team

        chosen = choose_device(device)
        team = Team.form(chosen, None, num_heads=16, num_items=1, guided=True)
        # everything has room on the first of the GPUs alone
        stage = Stage("diffusion transformer", (NetworkSize(0, 1 << 30, 76),), 1102 << 20)
        plan = plan_for_device(chosen, None, (stage,), least=team.least)
        if dist.get_rank() == fail_at:
            raise CosmosError("is broken.")
        total = torch.tensor([dist.get_rank()])
        for axis in ("cfg", "cp"):
            if group := axis_group(team.mesh, axis):
                dist.all_reduce(total, group=group)
        variables = {name: os.environ[name] for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
        told = {"chosen": str(chosen), "mesh": team.mesh.device_type, "layout": str(team.layout), "plan": str(plan)}
        told |= {"total": int(total), "current": torch.cuda.current_device()}
        Path(f"{dist.get_rank()}.json").write_text(json.dumps(noted | told | variables))
    output.result("added", {"status": "ok"})
'''


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages with the family `board`, and a driver that shows eight GPUs, the first with the most free memory."""
    write_distribution(tmp_path / "packages", "board", {"board": BOARD}, {"board": "board"})
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text(DRIVER)
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(driver.parent), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "packages"


def told(num_ranks: int) -> list[dict[str, Any]]:
    """What each worker noted, by rank."""
    return [json.loads(Path(f"{rank}.json").read_text()) for rank in range(num_ranks)]


def test_every_worker_has_a_gpu_of_its_own_and_all_meet(machine: Path) -> None:
    num_gpus = 4
    result = run_script("board", "add", "--num-gpus", num_gpus, "--json", path=machine)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "ok"  # of rank 0 alone
    ranks = told(num_gpus)
    assert [rank["current"] for rank in ranks] == [int(rank["LOCAL_RANK"]) for rank in ranks] == list(range(num_gpus))
    for number, rank in enumerate(ranks):
        # once where it joins the others, and whenever a mesh is made; never a device without index, never another's
        assert rank["set"] and set(rank["set"]) == {number}
        assert set(rank["asked"]) == {number}
        assert rank["chosen"] == f"cuda:{number}"
        assert (rank["mesh"], rank["layout"]) == ("cuda", "cfg=2,cp=2")
        assert rank["backends"] == ["cpu:gloo,cuda:nccl"]
        assert rank["total"] == sum(range(num_gpus))
    meeting = Counter((rank["MASTER_ADDR"], rank["MASTER_PORT"]) for rank in ranks)
    assert list(meeting.values()) == [num_gpus]
    # all plan for the one with the least memory: the first, alone, would have everything on the device
    assert len({rank["plan"] for rank in ranks}) == 1
    assert ranks[0]["plan"] == "diffusion transformer passing through in blocks, 75 at a time"


@pytest.mark.slow
def test_an_error_on_one_of_the_gpus_ends_all_and_names_the_rank(machine: Path) -> None:
    result = run_script("board", "add", "--num-gpus", 2, "--fail-at", 1, "--json", path=machine)
    document = json.loads(result.stdout)
    assert (result.returncode, document["problems"][0]["what"]) == (1, "rank 1: is broken.")
    assert not list(Path().glob("*.json"))


@pytest.mark.slow
def test_more_workers_than_visible_gpus_are_refused_and_fewer_take_the_first(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    result = run_script("board", "add", "--num-gpus", 2, "--json", path=machine)
    assert result.returncode == 2
    assert "this machine shows 1" in json.loads(result.stdout)["problems"][0]["what"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    result = run_script("board", "add", "--num-gpus", 2, path=machine)
    assert result.returncode == 0, result.stderr
    assert [rank["current"] for rank in told(2)] == [0, 1]  # as CUDA numbers what is visible
