"""What plugins bring: families, extensions of each kind, and the registry that holds them all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cosmos_cli import hookspecs
from cosmos_cli.errors import CheckpointError, CosmosError, GuardrailBlocked, InputError, Problem
from cosmos_cli.import_strings import check_import_string, one_line, resolve

if TYPE_CHECKING:
    from pydantic import BaseModel

OWN_DISTRIBUTION = "cosmos-cli"


@dataclass(frozen=True)
class Family:
    """A registered model family: `cosmos <name>`."""

    name: str
    help: str
    commands: str
    checkpoints: str | None
    plugin: str
    formats: str | None = None
    example: str | None = None
    workbench: str | None = None


CORE_COMMANDS = {
    name: Family(name, help, f"cosmos_cli.commands.{name}:app", checkpoints=None, plugin=OWN_DISTRIBUTION)
    for name, help in (
        ("demo", "Make a video with each family's tiny model, and one page that shows them."),
        ("models", "List the published models and what of them is there."),
        ("download", "Fetch what models need: resuming, verified, and nothing else."),
        ("batch", "Look at batches that run, or have run."),
        ("workbench", "Open a page to set up runs by eye, watch them and compare them."),
        ("config", "Show and set defaults, of a user and of a project."),
        ("doctor", "Check this machine, with the way to mend what is wrong."),
        ("plugins", "List the installed plugins and what they bring."),
    )
}
"""Commands of cosmos itself; no plugin can claim their names."""


@dataclass(frozen=True)
class Extension:
    """A registered extension of one kind ("guardrails", "prompt_refiners", "critics", "controls", "doctor_checks",
    "recipes", "demos", "batch_engines").

    factory: import string of what makes or computes it; None where there is nothing to run.
    """

    kind: str
    name: str
    help: str
    factory: str | None
    plugin: str

    def resolve(self) -> Any:
        """What `factory` names. Raises CosmosError if it cannot be loaded."""
        assert self.factory is not None
        return resolve(self.factory, needed_by=f"{self.kind} '{self.name}' of plugin {self.plugin}")


@dataclass(frozen=True)
class ControlModality(Extension):
    """A registered control modality; its own fields are those of `hookspecs.RegisterControl`."""

    checkpoint: str
    interpolation: Literal["linear", "nearest"] = "linear"
    source_frames: bool = False
    models: str | None = None
    needs: hookspecs.Package | None = None
    save_computed: bool = True
    upscales: bool = False
    driving: bool = False
    distilled: str | None = None
    train: str | None = None

    def __post_init__(self) -> None:
        if self.interpolation not in ("linear", "nearest"):
            raise ValueError(f"interpolation is {self.interpolation!r}, neither 'linear' nor 'nearest'")
        for string in (self.models, self.train):
            if string is not None:
                check_import_string(string)

    def resolve_train(self) -> Any:
        """What `train` names. Raises CosmosError if it cannot be loaded."""
        assert self.train is not None
        return resolve(self.train, needed_by=f"{self.kind} '{self.name}' of plugin {self.plugin}")

    def resolve_models(self) -> Any:
        """What `models` names, nothing if it names nothing. Raises CosmosError if it cannot be loaded."""
        if self.models is None:
            return ()
        return resolve(self.models, needed_by=f"{self.kind} '{self.name}' of plugin {self.plugin}")


@dataclass(frozen=True)
class RecipeCollection(Extension):
    """Registered post-trainings; `factory` is the mapping of their names."""

    family: str


@dataclass
class Plugin:
    """One entry of the group `cosmos.plugins`, working or not."""

    name: str
    module: str
    distribution: str
    version: str
    families: list[Family] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost_guardrails: list[str] = field(default_factory=list)
    """What it should check and does not, one line each; nothing is generated while there are any."""

    @property
    def label(self) -> str:
        """Name and distribution, as shown to the user."""
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass
class Registry:
    """Everything the installed plugins brought."""

    plugins: list[Plugin] = field(default_factory=list)
    families: dict[str, Family] = field(default_factory=dict)
    extensions: dict[str, dict[str, Extension]] = field(default_factory=dict)

    @property
    def controls(self) -> dict[str, ControlModality]:
        """The control modalities by name, in the order of their registration."""
        of_kind = self.extensions.get("controls", {})
        return {name: control for name, control in of_kind.items() if isinstance(control, ControlModality)}

    def recipe_collections(self, family: str) -> list[RecipeCollection]:
        """The post-trainings of a family, in the order of their registration."""
        of_kind = self.extensions.get("recipes", {}).values()
        return [each for each in of_kind if isinstance(each, RecipeCollection) and each.family == family]

    @property
    def faults(self) -> list[str]:
        """One line per fault, naming the plugin."""
        return [f"plugin {plugin.label}: {fault}" for plugin in self.plugins for fault in plugin.faults]

    def require_guardrails(self) -> None:
        """Every guardrail that an installed package declares is there.

        Raises:
            GuardrailBlocked: which is not, of which package.
        """
        lost = [
            Problem(
                f"{what}. Nothing is made without it.",
                where=f"plugin {plugin.label}",
                fix=f"Mend the package, or remove it: pip uninstall {plugin.distribution}",
            )
            for plugin in self.plugins
            for what in plugin.lost_guardrails
        ]
        if lost:
            raise GuardrailBlocked.from_problems(lost)

    def create(
        self, kind: str, name: str, *, device: str, offload: bool, checkpoint_dir: Path, settings: BaseModel
    ) -> Any:
        """Build one extension; its factory gets those of the keyword arguments that it names.

        Args:
            kind: "guardrails", "prompt_refiners" or "critics".
            device: where the run computes, such as "cuda:0".
            offload: whether the extension shall leave the device except while it works.
            checkpoint_dir: the checkpoint folder of the run.
            settings: what the run is loaded with.
        Raises:
            GuardrailBlocked: it is a guardrail and cannot be built.
            CheckpointError: its files are missing or damaged.
            CosmosError: it cannot be built.
        """
        failure = GuardrailBlocked if kind == "guardrails" else CosmosError
        given = {"device": device, "offload": offload, "checkpoint_dir": checkpoint_dir, "settings": settings}
        return self._build(self.extensions[kind][name], given, failure)

    def _build(self, extension: Extension, given: Mapping[str, object], failure: type[CosmosError]) -> Any:
        """What the factory of an extension returns; raises `failure` if it breaks."""
        try:
            factory = extension.resolve()
            return factory(**_named_by(factory, given))
        except (KeyboardInterrupt, CheckpointError, failure):
            raise
        except BaseException as error:  # SystemExit too: whoever exits in the middle of somebody's work is broken
            raise failure(
                f"{extension.kind} '{extension.name}' could not be built: {one_line(error)}.",
                where=f"plugin {extension.plugin}",
                fix="Fix or uninstall that plugin.",
            ) from error

    def create_engine(self, name: str, *, settings: Any, num_workers: int | None) -> Any:
        """The engine of batches of this name.

        Args:
            settings: what a run is loaded with. num_workers: as the user says, if so.
        Raises:
            CosmosError: there is none, or it cannot be built.
        """
        known = self.extensions.get("batch_engines", {})
        if name not in known:
            raise InputError(
                f"There is no engine named {name!r}.", where="--engine", fix=f"Use one of {', '.join(sorted(known))}."
            )
        given = {name: getattr(settings, name) for name in ("device", "checkpoint_dir") if hasattr(settings, name)}
        given = {"device": "cpu", **given, "settings": settings, "num_workers": num_workers}
        return self._build(known[name], given, CosmosError)

    def create_extensions(
        self, kind: str, *, device: str, offload: bool, checkpoint_dir: Path, settings: BaseModel
    ) -> dict[str, Any]:
        """Build every extension of a kind, by name, in order of their names; arguments and errors as for `create`.

        One that fails fails all: a check that was installed must not vanish silently.
        """
        if kind == "guardrails":
            self.require_guardrails()
        return {
            name: self.create(
                kind, name, device=device, offload=offload, checkpoint_dir=checkpoint_dir, settings=settings
            )
            for name in sorted(self.extensions.get(kind, {}))
        }


def _named_by(factory: Callable[..., object], given: Mapping[str, object]) -> Mapping[str, object]:
    """The arguments that a factory names, as pluggy gives them to hooks; what it does not name it need not take."""
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return given
    return {name: value for name, value in given.items() if name in parameters}
