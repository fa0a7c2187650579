"""What lies beside a folder of samples: the record of the run that fills it, and files in the making.

The folder itself holds nothing but samples, since NeMo takes every name in it for one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.missing import is_file
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.files.writing import json_bytes, replacing
from cosmos_plugins.nemo_bridge.dataset.clips import Clip
from cosmos_plugins.nemo_bridge.dataset.layout import list_samples

WHERE = "--output-path"

_FORMAT = 1
_ANOTHER = "Give another --output-path; or to begin anew, remove the folder and"


class Place:
    """A folder of samples, and what lies beside it.

    Args:
        output_path: as the user named it; a link to a folder is followed.
    """

    def __init__(self, output_path: Path) -> None:
        self.folder = Path(os.path.realpath(output_path))
        self.record = self.folder.parent / f"{self.folder.name}.manifest.json"
        self.making = self.folder.parent / f".{self.folder.name}.preparing"

    @property
    def texts(self) -> Path:
        """Embeddings of the texts, by the SHA-256 of the text."""
        return self.making / "texts"

    def check(self) -> None:
        """Raises InputError: the folder, or what lies beside it, cannot be written."""
        if not self.folder.name:
            raise InputError("is the root of the disk.", where=WHERE, fix="Give a folder in it.")
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise InputError(f"{self.folder} is not a folder.", where=WHERE, fix="Give another name.")
        if self.folder.is_dir():
            check_writable(self.folder / "0.info.json", field=WHERE, overwrite=True)
            if self.folder.stat().st_dev != self.folder.parent.stat().st_dev:
                raise InputError(
                    f"{self.folder} is a disk of its own; files in the making lie beside the folder of samples, and "
                    "must be on the same.",
                    where=WHERE,
                    fix=f"Give a folder in it, such as {self.folder / 'samples'}.",
                )
        try:
            check_writable(self.record, field=WHERE, overwrite=True)
        except InputError as error:
            fix = f"Notes lie beside the folder of samples: give a folder in it, such as {self.folder / 'samples'}."
            raise InputError.from_problems([Problem(each.what, each.where, fix) for each in error.problems]) from error

    def known_clips(self) -> dict[str, Clip]:
        """The videos that the run here has decoded before, by their fingerprints; none where there was no run."""
        known = {}
        for row in _rows((self._read() or {}).get("videos")):
            with contextlib.suppress(TypeError, KeyError, ValueError, OverflowError):
                known[str(row["fingerprint"])] = _clip(row)
        return known

    def check_same(self, settings: Mapping[str, Any], clips: Iterable[Clip]) -> None:
        """That the folder is empty, or is filled by a run with these settings and videos.

        Raises:
            InputError: it is not; names all that differs.
        """
        record = self._read()
        if record is None:
            self._check_empty()
            return
        own = _document(settings, clips)
        problems = _differences(record.get("settings"), own["settings"]) + _other_videos(record.get("videos"), own)
        if problems:
            raise InputError(
                "holds samples of another run.",
                where=str(self.folder),
                fix=f"{_ANOTHER} {self.record.name} beside it.",
                others=problems,
            )

    def _check_empty(self) -> None:
        listing = list_samples(self.folder) if self.folder.is_dir() else None
        if listing is None or not (listing.samples or listing.foreign):
            return
        samples = [f"{len(listing.samples)} samples"] if listing.samples else []
        names = [*samples, *listing.foreign[:5]]
        raise InputError(
            f"is not empty, and no run of cosmos has begun it: it holds {', '.join(names)}.",
            where=str(self.folder),
            fix="Give an --output-path of its own: NeMo takes every file in it for a sample.",
        )

    def begin(self, settings: Mapping[str, Any], clips: Iterable[Clip]) -> None:
        """Keep what a run is about, by which it is known again; one that is known goes on."""
        if self._read() is not None:
            return
        self.clear()  # of another run, whose record was removed
        document = _document(settings, clips)
        with replacing(self.record) as temporary:
            temporary.write_bytes(json_bytes({}, indent=2, as_they_are=document) + b"\n")

    def _read(self) -> dict[str, Any] | None:
        if not is_file(self.record):
            return None
        record = read_json(self.record, fix=f"{_ANOTHER} this file.")
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise InputError(
                "is no record of a run that this version of cosmos knows.",
                where=str(self.record),
                fix=f"{_ANOTHER} this file.",
            )
        return record

    def clear(self) -> None:
        """Remove what was in the making; nobody may be at it."""
        shutil.rmtree(self.making, ignore_errors=True)


def _document(settings: Mapping[str, Any], clips: Iterable[Clip]) -> dict[str, Any]:
    prompt = settings.get("prompt")
    own = {} if prompt is None else {"text": ""}  # one for all is told once
    videos = [{**asdict(clip), "path": clip.path.name, **own} for clip in clips]
    return {"format": _FORMAT, "settings": dict(settings), "videos": videos}


def _rows(found: Any) -> list[dict[str, Any]]:
    """What of a record, which anybody may have changed, are videos."""
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _clip(row: Mapping[str, Any]) -> Clip:
    return Clip(
        Path(str(row["path"])),
        "",
        str(row["fingerprint"]),
        int(row["num_frames"]),
        int(row["height"]),
        int(row["width"]),
        float(row["fps"]),
    )


def _differences(former: Any, own: Mapping[str, Any]) -> list[Problem]:
    former = former if isinstance(former, dict) else {}
    return [
        Problem(f"{name} is {own.get(name)!r}, and was {former.get(name)!r}.")
        for name in sorted(former.keys() | own.keys())
        if former.get(name) != own.get(name)
    ]


def _other_videos(former: Any, own: Mapping[str, Any]) -> list[Problem]:
    def known(rows: Any) -> dict[str, tuple[Any, Any]]:
        return {str(row.get("path")): (row.get("fingerprint"), row.get("text")) for row in _rows(rows)}

    then, now = known(former), known(own["videos"])
    changes = {
        "are new": sorted(now.keys() - then.keys()),
        "are gone": sorted(then.keys() - now.keys()),
        "have changed, or their texts": sorted(n for n in now.keys() & then.keys() if now[n] != then[n]),
    }
    return [
        Problem(f"videos that {what}: {', '.join(names[:10])}{' ...' * (len(names) > 10)}.")
        for what, names in changes.items()
        if names
    ]
