"""Finds plugins, loads them, and isolates the ones that fail.

A plugin that cannot be imported, breaks the hook contract, raises in a hook or claims a taken name costs its
own contribution only; the fault is kept beside its name for `cosmos plugins list` and one warning line.
Guardrails are the exception: a package that declares one and does not bring it blocks every generation.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from cosmos_cli import __version__, hookspecs
from cosmos_cli.import_strings import check_import_string, one_line, stdout_kept_clean
from cosmos_cli.registered import (
    CORE_COMMANDS,
    OWN_DISTRIBUTION,
    ControlModality,
    Extension,
    Family,
    Plugin,
    RecipeCollection,
    Registry,
)

if TYPE_CHECKING:
    pass

_OWN_HOOKS = EntryPoint("cosmos", "cosmos_cli.own_hooks", hookspecs.ENTRY_POINT_GROUP)
"""By the door of the plugins, and the first: what it brings cannot be taken by another."""
_GUARDRAIL_HOOK = hookspecs.cosmos_register_guardrails.__name__
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


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
        with stdout_kept_clean():
            module = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin.faults.append(f"cannot be imported ({one_line(error)})")
        return
    if manager.is_registered(module):
        plugin.faults.append(f"its module {entry.value} is already plugin '{manager.get_name(module)}'")
        return
    try:
        manager.register(module, name=entry.name)
        unknown = _unknown_hooks(manager, module)
    except Exception as error:
        manager.unregister(name=entry.name)
        plugin.faults.append(f"does not fit the hook contract ({one_line(error)})")
        if hasattr(module, _GUARDRAIL_HOOK):
            plugin.lost_guardrails.append(f"has a hook for guardrails and {plugin.faults[-1]}")
        return
    if unknown:
        plugin.faults.append(f"implements hooks that do not exist: {', '.join(unknown)}")
    _call_hooks(plugin, manager, module, registry)


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
        plugin.faults.append(f"raised in {name} ({one_line(error)})")


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
        check_import_string(text)


def _holder(registry: Registry, plugin_name: str) -> str:
    return next(plugin.label for plugin in registry.plugins if plugin.name == plugin_name)
