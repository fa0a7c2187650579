import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.files.writing import replacing, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with replacing(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_killed_while_writing_the_old_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"old": True})
    code = (
        "import sys, time; from pathlib import Path; from cosmos_cli.files.writing import replacing\n"
        "with replacing(Path(sys.argv[1])) as t:\n    t.write_text('half'); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert target.read_text() == '{\n  "old": true\n}\n'


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / "deep" / "er" / "a.mp4", field="--save-path", overwrite=False)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_existing_file_needs_permission(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a.mp4").touch()
    if overwrite:
        check_writable(tmp_path / "a.mp4", field="--save-path", overwrite=True)
    else:
        with pytest.raises(InputError, match="exists already"):
            check_writable(tmp_path / "a.mp4", field="--save-path", overwrite=False)


def test_remains_that_somebody_else_must_remove_keep_nobody_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    target = tmp_path / "a.json"
    with replacing(target) as temporary:
        remains = temporary.with_name(temporary.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
        temporary.touch()
    remains.touch()
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path == remains:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    write_json(target, {})
    assert target.read_text() == "{}\n"
    monkeypatch.undo()
    write_json(target, {})
    assert not remains.exists()


def test_bytes_of_a_name_that_are_no_text_are_read_again_as_they_were(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xbc.mp4")
    write_json(tmp_path / "a.json", {"path": Path(name)})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": name}


def test_a_disk_that_fills_while_torch_saves_is_told_as_full(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path; from cosmos_cli.files.writing import replacing\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "with replacing(Path(sys.argv[1])) as temporary, temporary.open('wb') as file:\n"
        "    torch.save({'a': torch.zeros(100_000)}, file)\n"
    )
    target = tmp_path / "weights/a.pt"
    ended = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True)
    assert "did not fit on the disk: it had 100,000 bytes" in ended.stderr
    assert not list(target.parent.iterdir())
