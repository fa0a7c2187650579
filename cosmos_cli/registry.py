"""Finds plugins, loads them, and isolates the ones that fail.

A plugin that cannot be imported, breaks the hook contract, raises in a hook or claims a taken name costs its
own contribution only; the fault is kept beside its name for `cosmos plugins list` and one warning line.
Guardrails are the exception: a package that declares one and does not bring it blocks every generation.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from cosmos_cli import __version__, hookspecs
from cosmos_cli.errors import CheckpointError, CosmosError, GuardrailBlocked, InputError, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel

OWN_DISTRIBUTION = "cosmos-cli"

_OWN_HOOKS = EntryPoint("cosmos", "cosmos_cli.own_hooks", hookspecs.ENTRY_POINT_GROUP)
"""By the door of the plugins, and the first: what it brings cannot be taken by another."""
_GUARDRAIL_HOOK = hookspecs.cosmos_register_guardrails.__name__
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_IMPORT_STRING = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


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
        ("workbench", "Open a page to set controls by eye, watch runs and compare them."),
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
                _check_import_string(string)

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
                f"{extension.kind} '{extension.name}' could not be built: {_one_line(error)}.",
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


def resolve(import_string: str, *, needed_by: str) -> Any:
    """The attribute that "package.module:attribute" names.

    Raises:
        CosmosError: the module cannot be imported or lacks the attribute.
    """
    module, _, attribute = import_string.partition(":")
    try:
        with _stdout_kept_clean():
            return getattr(importlib.import_module(module), attribute)
    except (KeyboardInterrupt, CosmosError):
        raise
    except BaseException as error:
        place = _place_in(module, error)
        mend = f"The error is in {place}. Mend it" if place else "Reinstall"
        raise CosmosError(
            f"{import_string} cannot be loaded: {_one_line(error)}.",
            where=needed_by,
            fix=f"{mend}, or uninstall the plugin; `cosmos plugins info` shows where it comes from.",
        ) from error


def _named_by(factory: Callable[..., object], given: Mapping[str, object]) -> Mapping[str, object]:
    """The arguments that a factory names, as pluggy gives them to hooks; what it does not name it need not take."""
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return given
    return {name: value for name, value in given.items() if name in parameters}


@functools.cache
def current() -> Registry:
    """The registry of this process, discovered on first use."""
    return discover()


def discover() -> Registry:
    """Load every installed plugin.

    The distribution that provides `cosmos` itself comes first and the others follow by name, so which of two
    claims on one name holds does not depend on the order of installation.
    """
    manager = pluggy.PluginManager("cosmos")
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    taken: dict[str, Plugin] = {}
    installed = entry_points()  # once: it reads a file of every package that is installed
    for entry in (_OWN_HOOKS, *sorted(installed.select(group=hookspecs.ENTRY_POINT_GROUP), key=_order)):
        plugin = _describe(entry)
        registry.plugins.append(plugin)
        if entry.name in taken:
            plugin.faults.append(f"its plugin name '{entry.name}' is already taken by {taken[entry.name].label}")
            continue
        taken[entry.name] = plugin
        _load(entry, plugin, manager, registry)
    declared = sorted(installed.select(group=hookspecs.GUARDRAIL_GROUP), key=_order)
    for entry in declared:
        _settle_declared(entry, registry)
    _blame_undeclared(registry, declared)
    return registry


def _settle_declared(entry: EntryPoint, registry: Registry) -> None:
    """Note a guardrail that is declared and was not registered by a plugin of the same distribution."""
    declaring = _describe(entry)
    own = [plugin for plugin in registry.plugins if plugin.distribution == declaring.distribution]
    if any(e.kind == "guardrails" and e.name == entry.name for plugin in own for e in plugin.extensions):
        return
    by_module = [plugin for plugin in own if plugin.module == entry.value]
    if not own:
        declaring.faults.append(f"declares the guardrail '{entry.name}', but has no plugin")
        registry.plugins.append(declaring)
    plugin = next(iter([*by_module, *own, declaring]))
    reason = "; ".join(plugin.faults) or "no hook registers it"
    plugin.lost_guardrails.append(f"its guardrail '{entry.name}' is not there: {reason}")
    if not plugin.faults:
        plugin.faults.append(f"its guardrail '{entry.name}' is declared, but no hook registers it")


def _blame_undeclared(registry: Registry, declared: Iterable[EntryPoint]) -> None:
    """Warn of guardrails that would go unnoticed if their plugin could not be imported."""
    known = {(_describe(entry).distribution, entry.name) for entry in declared}
    for plugin in registry.plugins:
        names = [e.name for e in plugin.extensions if e.kind == "guardrails"]
        if missing := [name for name in names if (plugin.distribution, name) not in known]:
            named = ", ".join(f"'{name}'" for name in missing)
            plugin.faults.append(
                f"declares no entry point '{hookspecs.GUARDRAIL_GROUP}' for {named}; the check runs, but would not be "
                "missed if the plugin could not be imported"
            )


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    distribution = _metadata(entry.dist)[0] if entry.dist else ""
    return (distribution != OWN_DISTRIBUTION, distribution, entry.name)


def _describe(entry: EntryPoint) -> Plugin:
    if entry is _OWN_HOOKS:
        return Plugin(entry.name, entry.value, OWN_DISTRIBUTION, __version__)
    distribution, version = _metadata(entry.dist) if entry.dist else ("unknown distribution", "?")
    return Plugin(name=entry.name, module=entry.value, distribution=distribution, version=version)


@functools.lru_cache(maxsize=64)
def _metadata(distribution: Distribution) -> tuple[str, str]:
    """Name and version; they are parsed out of a mail header each time that they are asked for."""
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _load(entry: EntryPoint, plugin: Plugin, manager: pluggy.PluginManager, registry: Registry) -> None:
    # SystemExit too: a plugin that calls sys.exit() on import must not end the whole command
    try:
        with _stdout_kept_clean():
            module = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin.faults.append(f"cannot be imported ({_one_line(error)})")
        return
    if manager.is_registered(module):
        plugin.faults.append(f"its module {entry.value} is already plugin '{manager.get_name(module)}'")
        return
    try:
        manager.register(module, name=entry.name)
        unknown = _unknown_hooks(manager, module)
    except Exception as error:
        manager.unregister(name=entry.name)
        plugin.faults.append(f"does not fit the hook contract ({_one_line(error)})")
        if hasattr(module, _GUARDRAIL_HOOK):
            plugin.lost_guardrails.append(f"has a hook for guardrails and {plugin.faults[-1]}")
        return
    if unknown:
        plugin.faults.append(f"implements hooks that do not exist: {', '.join(unknown)}")
    _call_hooks(plugin, manager, module, registry)


def _stdout_kept_clean() -> contextlib.AbstractContextManager[object]:
    # libraries greet on import, and stdout is for results that programs read
    return contextlib.redirect_stdout(sys.stderr)


def _one_line(error: BaseException) -> str:
    # messages of extension modules and of pluggy run over many lines; a fault is one line of a table
    try:
        text = str(error)
    except Exception:
        text = "says nothing that can be read"
    if isinstance(error, SyntaxError) and error.filename:
        # by itself it gives the last part of the path alone, and every package has an __init__.py
        text = f"{error.msg} ({error.filename}, line {error.lineno}: {(error.text or '').strip()}"
        text = text.rstrip(": ") + ")"
    return f"{type(error).__name__}: {' '.join(text.split())}".rstrip(".: ")


def _place_in(module: str, error: BaseException) -> str:
    """File and line where the package of a module raised; nothing where it is not its code that did."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    package = module.partition(".")[0]
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return f"{frames[-1][0]}, line {frames[-1][1]}" if frames else ""


def _unknown_hooks(manager: pluggy.PluginManager, module: Any) -> list[str]:
    return [caller.name for caller in manager.get_hookcallers(module) or () if not caller.has_spec()]


def _call_hooks(plugin: Plugin, manager: pluggy.PluginManager, module: Any, registry: Registry) -> None:
    for caller in manager.get_hookcallers(module) or ():
        if not caller.has_spec():
            continue
        kind = caller.name.removeprefix("cosmos_register_")
        own: dict[str, Callable[..., None]] = {
            "families": _register_family,
            "controls": _register_control,
            "doctor_checks": _register_doctor_check,
            "recipes": _register_recipes,
            "demos": _register_demo,
        }
        register = own.get(kind, functools.partial(_register_extension, kind))
        for implementation in caller.get_hookimpls():
            if implementation.plugin is module:
                _call(implementation.function, caller.name, functools.partial(register, registry, plugin), plugin)
        if caller.name == _GUARDRAIL_HOOK:
            _settle_hook(plugin)


def _call(hook: Callable[..., object], name: str, register: Callable[..., None], plugin: Plugin) -> None:
    try:
        hook(register)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin.faults.append(f"raised in {name} ({_one_line(error)})")


def _settle_hook(plugin: Plugin) -> None:
    """A hook for guardrails that broke, or registered none, has lost some, declared or not."""
    broke = [fault for fault in plugin.faults if _GUARDRAIL_HOOK in fault or "among guardrails" in fault]
    if not broke and not any(e.kind == "guardrails" for e in plugin.extensions):
        broke = [f"registers nothing in {_GUARDRAIL_HOOK}"]
        plugin.faults += broke
    plugin.lost_guardrails += [f"it lacks guardrails: {fault}" for fault in broke]


def _register_family(
    registry: Registry,
    plugin: Plugin,
    *,
    name: str,
    help: str,
    commands: str,
    checkpoints: str | None = None,
    formats: str | None = None,
    example: str | None = None,
    workbench: str | None = None,
) -> None:
    _check(name, [commands, *filter(None, [checkpoints, formats, workbench])])
    if name in CORE_COMMANDS:
        plugin.faults.append(f"the family name '{name}' is a command of cosmos itself")
    elif name in registry.families:
        holder = _holder(registry, registry.families[name].plugin)
        plugin.faults.append(f"the family name '{name}' is already taken by {holder}")
    else:
        family = Family(name, help, commands, checkpoints, plugin.name, formats, example, workbench)
        registry.families[name] = family
        plugin.families.append(family)


def _register_control(
    registry: Registry, plugin: Plugin, *, name: str, help: str, compute: str | None = None, **fields: Any
) -> None:
    _add(ControlModality("controls", name, help, compute, plugin.name, **fields), registry, plugin)


def _register_doctor_check(registry: Registry, plugin: Plugin, *, name: str, help: str, check: str) -> None:
    _add(Extension("doctor_checks", name, help, check, plugin.name), registry, plugin)


def _register_recipes(registry: Registry, plugin: Plugin, *, name: str, help: str, family: str, recipes: str) -> None:
    _add(RecipeCollection("recipes", name, help, recipes, plugin.name, family), registry, plugin)


def _register_demo(registry: Registry, plugin: Plugin, *, name: str, help: str, part: str) -> None:
    _add(Extension("demos", name, help, part, plugin.name), registry, plugin)


def _register_extension(kind: str, registry: Registry, plugin: Plugin, *, name: str, help: str, factory: str) -> None:
    _add(Extension(kind, name, help, factory, plugin.name), registry, plugin)


def _add(extension: Extension, registry: Registry, plugin: Plugin) -> None:
    kind, name = extension.kind, extension.name
    _check(name, [extension.factory] if extension.factory is not None else [])
    of_kind = registry.extensions.setdefault(kind, {})
    if name in of_kind:
        holder = _holder(registry, of_kind[name].plugin)
        plugin.faults.append(f"the name '{name}' among {kind} is already taken by {holder}")
    else:
        of_kind[name] = extension
        plugin.extensions.append(extension)


def _check(name: str, import_strings: Iterable[str]) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: use lower-case letters, digits, '-' and '_'")
    for text in import_strings:
        _check_import_string(text)


def _check_import_string(text: str) -> None:
    if not _IMPORT_STRING.fullmatch(text):
        raise ValueError(f"{text!r} is not an import string such as 'package.module:attribute'")


def _holder(registry: Registry, plugin_name: str) -> str:
    return next(plugin.label for plugin in registry.plugins if plugin.name == plugin_name)
