"""What the page can ask for, without the web: clips, plans, jobs, maps and command lines."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.files.failures import writing
from cosmos_cli.files.writing import write_json
from cosmos_cli.requests import StrictModel, nearest, shortened
from cosmos_cli.workbench.folders import PICTURES, Folders
from cosmos_cli.workbench.jobs import Job, Jobs
from cosmos_cli.workbench.kind import Kind
from cosmos_cli.workbench.maps import read_painting, write_map

_THUMBNAIL_PX = 240
_MOST_THUMBNAILS = 1_000
_LOOK = re.compile(r"\d+-[0-9a-f]{16}")
"""Name of the folder of a look."""


class Bench:
    """All that one workbench knows.

    Args:
        folders: that the page may see, the output folder among them.
        output_dir: where everything is written.
        machine: fields of settings that were given at the start, such as the checkpoint folder.
        kinds: what can be made, by name.
    """

    def __init__(
        self, folders: Folders, output_dir: Path, machine: Mapping[str, Any], kinds: Mapping[str, Kind]
    ) -> None:
        self.folders, self.output_dir, self.kinds = folders, output_dir.absolute(), kinds
        self._machine = dict(machine)
        self.jobs = Jobs(self.output_dir, kinds)
        self._thumbnails: dict[tuple[Path, int], bytes] = {}
        self._adding = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What does not change while the page is open."""
        return {
            "folders": [str(root) for root in self.folders.roots],
            "output": str(self.output_dir),
            "pictures": sorted(PICTURES),
            "kinds": {name: kind.about() for name, kind in self.kinds.items()},
        }

    def clips(self) -> list[dict[str, Any]]:
        """Videos and pictures in the folders; those that the workbench has made itself are among its jobs."""
        own = self.output_dir.resolve()
        return [
            {"path": str(path), "name": str(path.relative_to(root)) if path.is_relative_to(root) else path.name}
            for path, root in self.folders.clips()
            if not path.is_relative_to(own)
        ]

    def facts(self, path: Path) -> dict[str, Any]:
        """Length and size of a clip or picture. Raises InputError: it does not decode."""
        from cosmos_cli.media.facts import read_facts

        return asdict(read_facts(path))

    def thumbnail(self, path: Path) -> bytes:
        """The first frame, small, as JPEG. Raises InputError: it does not decode."""
        from cosmos_cli.media.thumbnails import thumbnail

        key = path, path.stat().st_mtime_ns
        if key not in self._thumbnails:
            if len(self._thumbnails) >= _MOST_THUMBNAILS:
                self._thumbnails.clear()
            self._thumbnails[key] = thumbnail(path, _THUMBNAIL_PX)
        return self._thumbnails[key]

    def options(self, job: Job) -> dict[str, Any]:
        """Fields that are given beside the specification of a job. Raises InputError: its kind is not there now."""
        return self._options(self._kind(job.kind), Path(job.folder))

    def _options(self, kind: Kind, folder: Path) -> dict[str, Any]:
        known = {name for model in kind.models for name in model.model_fields}
        machine = {name: value for name, value in self._machine.items() if name in known}
        return {**kind.outputs(folder), **machine}

    def plan(self, name: str, asked: Any) -> dict[str, Any]:
        """What a run would cost. Raises InputError, OutsideError."""
        from cosmos_cli.generation.command import plan_one

        kind = self._kind(name)
        with tempfile.TemporaryDirectory() as folder, output.recording(in_background=True):
            request, settings = self._read(kind, asked, Path(folder) / "spec.json", self.output_dir / "new")
            plan = plan_one(kind.inputs(), settings, request)
            document = {**plan.document(), "text": plan.text()}
            if plan.missing:
                try:
                    kind.inputs().check(settings, request, writes=False)
                except CheckpointError as error:  # it says how to get them
                    document["problems"] += [str(problem) for problem in error.problems]
            return document

    def look(self, name: str, asked: Any) -> dict[str, Any]:
        """Have controls made to be looked at; what was made before is there at once.

        Raises InputError, OutsideError, CheckpointError.
        """
        kind = self._kind(name)
        if not kind.controls():
            raise InputError("has no controls to look at.", where=name)
        key = hashlib.sha256(json.dumps([name, asked, self._stamp(asked)], sort_keys=True).encode()).hexdigest()
        looks = self.output_dir / "looks"
        with self._adding:
            for job in self.jobs.all():
                is_it = Path(job.folder).parent == looks and job.folder.endswith(key[:16]) and not job.is_given_up
                if is_it and (not job.is_over or self._is_whole(job)):
                    return self.shown(job)
            # a folder of its own: one that was given up may still be at work in another
            folder = looks / f"{self.jobs.next_id}-{key[:16]}"
            with _gone_if_refused(folder):
                self._read(kind, asked, folder / "spec.json", folder)
            return self.shown(self.jobs.add(self._new(kind, "look", folder, asked)))

    def clear_looks(self) -> None:
        """Remove controls that were looked at in an earlier start, of which nothing is known any more."""
        for folder in (self.output_dir / "looks").glob("*-*"):
            if _LOOK.fullmatch(folder.name) and (folder / "spec.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def _stamp(self, asked: Any) -> list[Any]:
        """When files that are named were changed."""
        found = []
        for value in asked.values() if isinstance(asked, Mapping) else ():
            if isinstance(value, str) and value.startswith("/"):
                with contextlib.suppress(OSError, ValueError):
                    status = Path(value).stat()
                    found.append([value, status.st_mtime_ns, status.st_size])
        return found

    def _is_whole(self, job: Job) -> bool:
        return job.status == "done" and all(Path(job.folder, name).is_file() for name in job.files.values())

    def make(self, name: str, asked: Any) -> dict[str, Any]:
        """Put a video or a picture into the queue, after all that can be known of it is checked.

        Raises InputError, OutsideError, CheckpointError.
        """
        kind = self._kind(name)
        with self._adding:
            folder = self._new_folder(*_named_by(kind, asked))
            with _gone_if_refused(folder):
                request, settings = self._read(kind, asked, folder / "spec.json", folder)
                with output.recording(in_background=True):
                    kind.inputs().check(settings, request)
            return self.shown(self.jobs.add(self._new(kind, "make", folder, asked)))

    def _new(self, kind: Kind, what: Any, folder: Path, asked: Any) -> Job:
        clip, prompt = _named_by(kind, asked)
        return Job(id=self.jobs.next_id, what=what, kind=kind.name, folder=str(folder), clip=clip, prompt=prompt)

    def _new_folder(self, clip: str, prompt: str) -> Path:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(clip).stem or prompt)[:40].strip("-")
        number = self.jobs.next_id
        while True:
            folder = self.output_dir / (f"{number:04d}-{stem}" if stem else f"{number:04d}")
            try:
                with writing(folder):
                    folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return folder

    def export(self, name: str, asked: Any) -> dict[str, Any]:
        """The specification as a file, and the command line that makes it. Raises InputError, OutsideError."""
        kind = self._kind(name)
        digest = hashlib.sha256(json.dumps([name, asked], sort_keys=True).encode()).hexdigest()[:8]
        spec = self.output_dir / "specs" / f"{digest}.json"
        folder = self.output_dir / "specs" / digest
        with tempfile.TemporaryDirectory() as other:
            self._read(kind, asked, Path(other) / spec.name, folder)
        write_json(spec, asked)
        return {"spec": str(spec), "document": asked, "command": self._line(kind, spec, folder)}

    def paint(self, document: Any) -> dict[str, Any]:
        """Write a weight map. Raises InputError: what is wrong with it."""
        return {"path": str(write_map(read_painting(document), self.output_dir / "maps"))}

    def shown(self, job: Job) -> dict[str, Any]:
        """A job for the page."""
        document = asdict(job)
        document["files"] = {name: str(Path(job.folder, file)) for name, file in job.files.items()}
        if job.what == "make":
            document["spec"] = str(job.spec)
            kind = self.kinds.get(job.kind)
            document["command"] = self._line(kind, job.spec, Path(job.folder)) if kind else ""
            document["output"] = document["files"].get(kind.shows if kind else "video")
        return document

    def _line(self, kind: Kind, spec: Path, folder: Path) -> str:
        return shlex.join(kind.line(spec, self._options(kind, folder)))

    def _kind(self, name: str) -> Kind:
        if name not in self.kinds:
            raise InputError(f"{name!r} cannot be made here.", fix=f"What can: {', '.join(self.kinds)}.")
        return self.kinds[name]

    def _read(self, kind: Kind, asked: Any, spec: Path, folder: Path) -> tuple[Any, Any]:
        """The request and the settings that the page asks for, in the specification that is written for it.

        Raises:
            InputError: all that is wrong with them. OutsideError: a path leads out of the folders.
        """
        if not isinstance(asked, dict):
            raise InputError("must be an object.", where="specification")
        unknown = asked.keys() - kind.offered()
        if unknown:
            name = min(unknown)
            raise InputError(f"Unknown entry {name!r}.", where="specification", fix=nearest(name, kind.offered()))
        kind.check_whole(asked)
        write_json(spec, asked)
        request, settings = kind.read(spec, self._options(kind, folder))
        self._check_paths(request, own=set(kind.outputs(folder)))
        return request, settings

    def _check_paths(self, request: StrictModel, own: set[str]) -> None:
        for name, value in request:
            if name not in own:
                self.folders.check(value)


def _named_by(kind: Kind, asked: Any) -> tuple[str, str]:
    """What a run is called by, as far as it has that: the name of its input, and the beginning of its prompt."""
    values = asked if isinstance(asked, Mapping) else {}
    clip = "" if kind.clip is None else Path(str(values.get(kind.clip.field) or "")).name
    return clip, shortened(" ".join(str(values.get("prompt") or "").split()))


@contextlib.contextmanager
def _gone_if_refused(folder: Path) -> Iterator[None]:
    """A block that fills a folder of its own, of which nothing stays if it fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def opened(
    folders: Folders, output_dir: Path, machine: Mapping[str, Any], kinds: Mapping[str, Kind]
) -> Iterator[Bench]:
    """A workbench whose files are this process's until the block ends."""
    bench = Bench(folders, output_dir, machine, kinds)
    try:
        bench.clear_looks()
        yield bench
    finally:
        bench.jobs.close()
