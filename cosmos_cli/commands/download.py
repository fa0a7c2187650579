"""`cosmos download`: fetch what a model needs, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import DEFAULT_ROOT, PublishedFile, Repository, download_command
from cosmos_cli.checkpoints.disk import check_disk, free_bytes
from cosmos_cli.commands.catalogues import choose
from cosmos_cli.commands.options import CheckpointDir
from cosmos_cli.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from cosmos_cli.checkpoints.hub import RemoteFile

Controls = Annotated[
    str, typer.Option("--controls", metavar="LIST", help="Only what these control modalities need, such as edge,depth.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched; ask nobody.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Fetch nothing; read what is there and compare it with what is published.")
]
MaxWorkers = Annotated[int, typer.Option("--max-workers", min=1, help="Files to fetch at a time.")]

app = typer.Typer(
    invoke_without_command=True,
    subcommand_metavar="",
    # a group would take options that follow a name for names
    context_settings={"allow_interspersed_args": True},
)


@app.callback()
def download(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Families, models, repositories or files, as `cosmos models` lists them."),
    ] = None,
    controls: Controls = "",
    checkpoint_dir: CheckpointDir = DEFAULT_ROOT,
    dry_run: DryRun = False,
    verify: Verify = False,
    max_workers: MaxWorkers = 4,
    json: output.JsonFlag = False,
) -> None:
    """Fetch what models need. Example: cosmos download transfer --controls edge"""
    if not what:
        raise InputError("says nothing to fetch.", where="WHAT", fix="Name a family or a model of `cosmos models`.")
    _run(what, controls, checkpoint_dir, dry_run, verify, max_workers)


def for_family(family: str) -> Any:
    """The command `cosmos <family> download`."""
    own = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    @own.command("download")
    def download(
        models: Annotated[
            list[str] | None, typer.Argument(help="Models of this family; its main one if none is named.")
        ] = None,
        controls: Controls = "",
        checkpoint_dir: CheckpointDir = DEFAULT_ROOT,
        dry_run: DryRun = False,
        verify: Verify = False,
        max_workers: MaxWorkers = 4,
        json: output.JsonFlag = False,
    ) -> None:
        """Fetch what models of this family need, as `cosmos download` does."""
        what = [f"{family}/{model}" for model in models or []] or [family]
        _run(what, controls, checkpoint_dir, dry_run, verify, max_workers)

    return typer.main.get_command(own)


def _run(what: list[str], controls: str, root: Path, dry_run: bool, verify: bool, max_workers: int) -> None:
    chosen = choose(what, [name.strip() for name in controls.split(",") if name.strip()])
    if dry_run:
        _preview(chosen, root)
    elif verify:
        _verify(chosen, root)
    else:
        _download(chosen, root, max_workers)


def _preview(chosen: list[Repository], root: Path) -> None:
    files = [(file, _path(repository, file, root)) for repository in chosen for file in repository.files]
    missing = {_path(repository, file, root) for repository in chosen for file in repository.missing(root)}
    states = {path: "missing" if path in missing else "present" for _, path in files}
    total = sum(file.num_bytes for file, _ in files)
    to_fetch = sum(file.num_bytes for file, path in files if path in missing)
    free = free_bytes(root)
    licences: dict[str, list[str]] = {}
    for repository in chosen:
        licences.setdefault(repository.licence, []).append(repository.name + (" (gated)" if repository.gated else ""))
    lines = [
        output.table(
            ("ABOUT", "STATE", "FILE"), [(_amount(file.num_bytes), states[path], path) for file, path in files]
        ),
        f"{_amount(to_fetch)} to fetch of {_amount(total)}; the disk of {root} has {_amount(free)} free",
        *(f"{licence}: {', '.join(names)}" for licence, names in licences.items()),
    ]
    document = {
        "checkpoint_dir": str(root),
        "files": [{"path": path, "bytes": file.num_bytes, "state": states[path]} for file, path in files],
        "total_bytes": total,
        "missing_bytes": to_fetch,
        "free_bytes": free,
        "licences": [{"repository": r.name, "licence": r.licence, "gated": r.gated} for r in chosen],
    }
    output.result("\n".join(lines), document)


def _verify(chosen: list[Repository], root: Path) -> None:
    from cosmos_cli.checkpoints.download import verify
    from cosmos_cli.checkpoints.hub import look_up

    files = look_up(chosen, root)
    total = sum(file.num_bytes for file in files if (root / file.local_path).is_file())
    wrong = []
    with output.files_progress("Verifying", total) as of_file:
        for file in files:
            with of_file(file.local_path.name, file.num_bytes) as on_bytes:
                problem = verify(file, root, on_bytes)
            if problem:
                wrong.append((file, problem))
    if wrong:
        command = download_command((file.name for file, _ in wrong), root)
        in_the_way = [str(root / file.local_path) for file, _ in wrong if (root / file.local_path).is_file()]
        first = f"Remove {', '.join(in_the_way)}, then: " if in_the_way else ""
        *others, last = (problem for _, problem in wrong)
        raise CheckpointError.from_problems([*others, replace(last, fix=first + command)])
    output.result(
        f"{len(files)} files are the published ones, {_amount(total)}",
        {
            "checkpoint_dir": str(root),
            "files": [
                {"path": file.local_path.as_posix(), "bytes": file.num_bytes, "state": "verified"} for file in files
            ],
        },
    )


def _download(chosen: list[Repository], root: Path, max_workers: int) -> None:
    incomplete = [repository for repository in chosen if _may_lack(repository, root)]
    present = [_path(r, file, root) for r in chosen if r not in incomplete for file in r.files]
    fetched: list[RemoteFile] = []
    if incomplete:
        from cosmos_cli.checkpoints import download as engine
        from cosmos_cli.checkpoints.hub import look_up

        files = look_up(incomplete, root)
        fetched = engine.pending(files, root)
        present += [file.local_path.as_posix() for file in files if file not in fetched]
        for file in fetched:
            if (root / file.local_path).exists():
                output.notice(f"{root / file.local_path} has not the published size and is fetched again.")
        if fetched:
            check_disk(engine.missing_bytes(fetched, root), root)
            with output.files_progress("Downloading", sum(file.num_bytes for file in fetched)) as of_file:
                engine.download(
                    fetched,
                    root,
                    max_workers=max_workers,
                    show=lambda file: of_file(file.local_path.name, file.num_bytes),
                    on_file=lambda file: output.status(f"{file.local_path}: {_amount(file.num_bytes)}, verified"),
                )
    states = [(path, "present") for path in present]
    states += [(file.local_path.as_posix(), "fetched") for file in fetched]
    amount = sum(file.num_bytes for file in fetched)
    text = f"{len(fetched)} files fetched, {_amount(amount)}" if fetched else "all files are there"
    output.result(
        f"{text}: {root}",
        {
            "checkpoint_dir": str(root),
            "fetched_bytes": amount,
            "files": [{"path": path, "state": state} for path, state in states],
        },
    )


def _may_lack(repository: Repository, root: Path) -> bool:
    """Whether files are missing, or may be: of what is in a folder only the Hub knows whether it is all."""
    if repository.missing(root):
        return True
    if not repository.has_folders or repository.is_served(root):
        return False
    from cosmos_cli.checkpoints.hub import is_offline

    return not is_offline()


def _path(repository: Repository, file: PublishedFile, root: Path) -> str:
    """Where a file lies under the checkpoint folder."""
    return f"{repository.folder(root).relative_to(root).as_posix()}/{file.path}"


def _amount(num_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"
