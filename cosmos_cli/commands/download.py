"""`cosmos download`: fetch what a model needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmos_cli import output
from cosmos_cli.catalogues import choose, complete_controls, complete_models, complete_names, models_of
from cosmos_cli.checkpoints.catalogue import DEFAULT_ROOT, PublishedFile, Repository, download_command
from cosmos_cli.checkpoints.hub_cache import IN_CACHE, is_cached
from cosmos_cli.commands.options import DownloadDir
from cosmos_cli.errors import CheckpointError, CosmosError, InputError, Problem
from cosmos_cli.files.disk import check_room, free_bytes
from cosmos_cli.flags import JsonFlag
from cosmos_cli.help import Command, HelpAll

if TYPE_CHECKING:
    from cosmos_cli.checkpoints.hub import RemoteFile

Controls = Annotated[
    str,
    typer.Option(
        "--controls",
        metavar="LIST",
        help="Only what these control modalities need, such as edge,depth.",
        autocompletion=complete_controls,
    ),
]
ModelSizes = Annotated[
    str, typer.Option("--model-sizes", metavar="LIST", help="Models by size, such as 7B, as in the originals' scripts.")
]
ModelTypes = Annotated[
    str, typer.Option("--model-types", metavar="LIST", help="Models by type, such as Text2World, as in these scripts.")
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
        typer.Argument(
            metavar="WHAT",
            help="Families, models, repositories or files, as `cosmos models` lists them.",
            autocompletion=complete_names,
        ),
    ] = None,
    controls: Controls = "",
    model_sizes: ModelSizes = "",
    model_types: ModelTypes = "",
    checkpoint_dir: DownloadDir = DEFAULT_ROOT,
    dry_run: DryRun = False,
    verify: Verify = False,
    max_workers: MaxWorkers = 4,
    json: JsonFlag = False,
    help_all: HelpAll = False,
) -> None:
    """Fetch what models need. Example: cosmos download transfer --controls edge"""
    if model_sizes or model_types:
        what = models_of(what or [], _listed(model_sizes), _listed(model_types))
    if not what:
        raise InputError("says nothing to fetch.", where="WHAT", fix="Name a family or a model of `cosmos models`.")
    _run(what, controls, checkpoint_dir, dry_run, verify, max_workers)


def for_family(family: str) -> Any:
    """The command `cosmos <family> download`."""
    own = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

    @own.command("download", cls=Command)
    def download(
        models: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="MODEL",
                help="Models of this family; its main one if none is named.",
                autocompletion=complete_models,
            ),
        ] = None,
        controls: Controls = "",
        model_sizes: ModelSizes = "",
        model_types: ModelTypes = "",
        checkpoint_dir: DownloadDir = DEFAULT_ROOT,
        dry_run: DryRun = False,
        verify: Verify = False,
        max_workers: MaxWorkers = 4,
        json: JsonFlag = False,
        help_all: HelpAll = False,
    ) -> None:
        """Fetch what models of this family need, as `cosmos download` does."""
        what = [f"{family}/{model}" for model in models or []] or [family]
        if model_sizes or model_types:
            what = models_of([family, *(models or [])], _listed(model_sizes), _listed(model_types))
        _run(what, controls, checkpoint_dir, dry_run, verify, max_workers)

    return typer.main.get_command(own)


def _run(what: list[str], controls: str, root: Path, dry_run: bool, verify: bool, max_workers: int) -> None:
    chosen = choose(what, _listed(controls))
    if dry_run:
        _preview(chosen, root)
    elif verify:
        _verify(chosen, root)
    else:
        _download(chosen, root, max_workers)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _preview(chosen: list[Repository], root: Path) -> None:
    files = [(repository, file, _path(repository, file, root)) for repository in chosen for file in repository.files]
    states = {path: "present" for _, _, path in files}
    for repository in chosen:
        for file in (*repository.missing(root), *repository.optional_missing(root)):
            states[_path(repository, file, root)] = IN_CACHE if is_cached(repository, file) else "missing"
    total = sum(file.num_bytes for _, file, _ in files)
    to_fetch = sum(file.num_bytes for _, file, path in files if states[path] == "missing")
    free = free_bytes(root)
    licences: dict[str, list[str]] = {}
    for repository in chosen:
        access = f" ({repository.access})" if repository.access else ""
        licences.setdefault(repository.licence, []).append(f"{repository.name}{access}")
    rows = [(_amount(file.num_bytes), states[path], path, _need(file)) for _, file, path in files]
    lines = [
        output.table(("ABOUT", "STATE", "FILE", "ONLY IF"), rows),
        f"{_amount(to_fetch)} to fetch of {_amount(total)}; the disk of {root} has {_amount(free)} free",
        *(f"{licence}: {', '.join(dict.fromkeys(names))}" for licence, names in licences.items()),
        *_notes(chosen, root),
    ]
    document = {
        "checkpoint_dir": str(root),
        "files": [
            {"path": path, "bytes": file.num_bytes, "state": states[path], "optional": file.is_optional}
            for _, file, path in files
        ],
        "total_bytes": total,
        "missing_bytes": to_fetch,
        "free_bytes": free,
        "licences": [{"repository": r.name, "licence": r.licence, "gated": r.gated} for r in chosen],
        "notes": _notes(chosen, root),
    }
    output.result("\n".join(lines), document)


def _need(file: PublishedFile) -> str:
    """When a file that is optional is fetched, or read."""
    return "it is published" + (f", for {file.only_for}" if file.only_for else "") if file.is_optional else ""


def _notes(chosen: list[Repository], root: Path) -> list[str]:
    return [repository.note for repository in chosen if repository.note and not repository.form_in(root)]


def _verify(chosen: list[Repository], root: Path) -> None:
    from cosmos_cli.checkpoints.download import verify
    from cosmos_cli.checkpoints.hub import look_up

    listing = look_up(chosen, root)
    # what is optional is verified if it is there
    files = [file for file in listing.files if not file.is_optional or (root / file.local_path).is_file()]
    total = sum(file.num_bytes for file in files if (root / file.local_path).is_file())
    wrong = []
    with output.files_progress("Verifying", total) as of_file:
        for file in files:
            with of_file(file.local_path.name, file.num_bytes) as on_bytes:
                problem = verify(file, root, on_bytes)
            if problem:
                wrong.append((file, problem))
    problems = [problem for _, problem in wrong]
    if wrong:
        command = download_command((file.name for file, _ in wrong), root)
        in_the_way = [str(root / file.local_path) for file, _ in wrong if (root / file.local_path).is_file()]
        first = f"Remove {', '.join(in_the_way)}, then: " if in_the_way else ""
        problems[-1] = replace(problems[-1], fix=first + command)
    problems += listing.problems
    if problems:
        raise CheckpointError.from_problems(problems)
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
    present = [_path(r, file, root) for r in chosen if r not in incomplete for file in _there(r, root)]
    fetched: list[RemoteFile] = []
    linked: set[RemoteFile] = set()
    if incomplete:
        from cosmos_cli.checkpoints import download as engine
        from cosmos_cli.checkpoints.hub import is_offline, look_up, look_up_in_cache

        listing = look_up_in_cache(incomplete, root) if is_offline() else look_up(incomplete, root)
        fetched = engine.pending(listing.files, root)
        present += [file.local_path.as_posix() for file in listing.files if file not in fetched]
        for note in _notes([r for r in incomplete if any(file.repository is r for file in fetched)], root):
            output.notice(note)
        if listing.lacking:
            output.notice(f"optional, and not published: {'; '.join(listing.lacking)}")
        for file in fetched:
            if (root / file.local_path).exists():
                output.notice(f"{root / file.local_path} has not the published size and is fetched again.")
        if fetched:
            fix = "Make room, or name a folder on another disk with --checkpoint-dir."
            check_room(root, engine.missing_bytes(fetched, root), fix=fix)
            fetched, linked = _fetch(fetched, root, max_workers, lost=listing.problems)
        if listing.problems:
            raise CheckpointError.from_problems(listing.problems)
    states = [(path, "present") for path in present]
    states += [(file.local_path.as_posix(), "from cache" if file in linked else "fetched") for file in fetched]
    amount = sum(file.num_bytes for file in fetched if file not in linked)
    text = f"{len(fetched) - len(linked)} files fetched, {_amount(amount)}" if fetched else "all files are there"
    if linked:
        text += f"; {len(linked)} from the Hub's cache, {_amount(sum(file.num_bytes for file in linked))}"
    output.result(
        f"{text}: {root}",
        {
            "checkpoint_dir": str(root),
            "fetched_bytes": amount,
            "files": [{"path": path, "state": state} for path, state in states],
        },
    )


def _fetch(
    files: list[RemoteFile], root: Path, max_workers: int, *, lost: Iterable[Problem]
) -> tuple[list[RemoteFile], set[RemoteFile]]:
    """Fetch files, and name the optional ones that cannot be.

    Returns:
        The others, and which of them were in the Hub's cache.
    Raises:
        CosmosError: some could not be fetched; together with what is `lost` anyway.
    """
    from cosmos_cli.checkpoints import download as engine

    linked: set[RemoteFile] = set()

    def done(file: RemoteFile, is_from_cache: bool) -> None:
        if is_from_cache:
            linked.add(file)
        where = f", {IN_CACHE}" if is_from_cache else ""
        output.status(f"{file.local_path}: {_amount(file.num_bytes)}{where}, verified")

    try:
        with output.files_progress("Downloading", sum(file.num_bytes for file in files)) as of_file:
            left_out = engine.download(
                files,
                root,
                max_workers=max_workers,
                show=lambda file: of_file(file.local_path.name, file.num_bytes),
                on_file=done,
            )
    except CosmosError as error:
        error.problems += lost
        raise
    if left_out:
        reasons = (f"{file.name}: {problem.what}" for file, problem in left_out)
        output.notice(f"optional, and not fetched: {'; '.join(reasons)}")
    return [file for file in files if file not in {file for file, _ in left_out}], linked


def _may_lack(repository: Repository, root: Path) -> bool:
    """Whether files are missing, or may be: what is in a folder, or optional, only the Hub knows to be published."""
    if repository.missing(root):
        return True
    may_be_more = repository.has_folders or repository.optional_missing(root)
    if not may_be_more or repository.form_in(root):
        return False
    from cosmos_cli.checkpoints.hub import is_offline

    return not is_offline()


def _there(repository: Repository, root: Path) -> list[PublishedFile]:
    """The files of a repository of which no required one is missing."""
    lacking = repository.optional_missing(root)
    return [file for file in repository.files if file not in lacking]


def _path(repository: Repository, file: PublishedFile, root: Path) -> str:
    """Where a file lies under the checkpoint folder."""
    return f"{repository.folder(root).relative_to(root).as_posix()}/{file.path}"


def _amount(num_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"
