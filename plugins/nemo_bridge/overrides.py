"""Overrides as nemo_run takes them, `path.to.field=value`, as changes of a recipe of this project. Without torch."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from operator import add, mul, sub, truediv
from typing import Any

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.paths import given_path
from cosmos_cli.training.experiments import Change, read_override
from cosmos_cli.training.job_folder import flat
from cosmos_cli.training.recipe import Recipe

TEXTS: Mapping[str, str] = {
    "data.path": "data.dataset_dir",
    "resume.restore_config.path": "checkpoint.load_path",
    "log.log_dir": "job.folder",
}
"""NeMo's names of paths, which are taken as they stand, and what they are called here."""

FIELDS: Mapping[str, str] = {
    **TEXTS,
    "data.global_batch_size": "data.global_batch_size",
    "data.micro_batch_size": "data.batch_size",
    "data.num_workers": "data.num_workers",
    "trainer.max_steps": "trainer.max_iter",
    "trainer.accumulate_grad_batches": "trainer.grad_accum_iter",
    "trainer.log_every_n_steps": "log.logging_iter",
    "trainer.strategy.tensor_model_parallel_size": "parallel.tp",
    "trainer.strategy.context_parallel_size": "parallel.cp",
    "trainer.strategy.ckpt_async_save": "checkpoint.asynchronous",
    "optim.config.lr": "optimizer.lr",
    "optim.config.weight_decay": "optimizer.weight_decay",
    "optim.config.adam_beta1": "optimizer.betas.0",
    "optim.config.adam_beta2": "optimizer.betas.1",
    "optim.config.adam_eps": "optimizer.eps",
    "optim.config.clip_grad": "optimizer.clip_norm",
    "model.config.num_layers": "model.num_layers",
    "model.config.layernorm_epsilon": "model.layer_norm_eps",
    "model.config.recompute_granularity": "parallel.activation_checkpointing",
    "log.ckpt.every_n_train_steps": "checkpoint.save_iter",
    "log.ckpt.save_top_k": "checkpoint.keep",
}
"""NeMo's names of fields, and what they are called here."""

RECOMPUTED: Mapping[Any, str] = {"full": "block", "selective": "sub-block", None: "none"}
"""What NeMo calls activation checkpointing, and what it is called here."""

FIXED: Mapping[str, tuple[Any, str]] = {
    "trainer.num_nodes": (1, "Start the command on every node with torchrun --nnodes, or pass --slurm --nodes."),
    "trainer.strategy.pipeline_model_parallel_size": (
        1,
        "Share layers by trainer.strategy.tensor_model_parallel_size.",
    ),
    "model.config.recompute_method": ("uniform", "Leave it out."),
    "model.config.recompute_num_layers": (1, "Leave it out."),
    "resume.resume_if_exists": (True, "A run goes on where it stopped; name another log.log_dir to begin anew."),
    "resume.restore_config.load_model_state": (True, "Begin from chance with resume.restore_config=None."),
    "resume.restore_config.load_optim_state": (False, "NeMo's moments cannot be taken over; leave it out."),
    "log.ckpt.save_weights_only": (False, "Leave it out: weights are exported beside what a run goes on from."),
}
"""NeMo's fields that have one value here, and what to do instead of giving another."""

UNSUPPORTED: Mapping[str, str] = {
    "trainer.devices": "Pass --num-gpus, or start the command with torchrun.",
    "trainer.strategy.sequence_parallel": "Share tokens by trainer.strategy.context_parallel_size.",
    "trainer.strategy.save_ckpt_format": "Write NeMo's formats with `cosmos nemo convert`, when the run has ended.",
    "trainer.limit_val_batches": "Leave it out: NeMo's recipes validate nothing either.",
    "data.seq_length": "Leave it out: NeMo reads it and does nothing with it.",
    "log.wandb": "Set WANDB_API_KEY, WANDB_PROJECT and WANDB_RUN_ID.",
}
"""NeMo's fields, and what is below them, that mean nothing here, and what to do instead."""

_WHOLE = ("resume", "resume.restore_config")
"""What begins from chance when it is taken away."""
_RUNS_FOLDER = "log.log_dir"
_NOTHING = ("None", "null", "")
_NUMBER_IN = re.compile(r"(optimizer\.betas)\.([01])")
_LEFT_OUT = "lora."
"""Begins the names of a part that recipes leave out until a field of it is given."""

_PATTERN = re.compile(r"([A-Za-z_][\w.]*?)\s*([-+*/|&]?=)(.*)", re.DOTALL)
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {"+=": add, "-=": sub, "*=": mul, "/=": truediv}


def changes_of(recipe: Recipe, overrides: Iterable[str]) -> dict[str, Change]:
    """What overrides change of a recipe, by the names of this project; written with these or with NeMo's.

    Raises:
        InputError: an override is none, or the native engine does not support it; all at once, with what to do.
    """
    problems: list[Problem] = []
    changes: dict[str, Change] = {}
    for override in overrides:
        try:
            changes |= {change.name: change for change in _read(recipe, override, changes)}
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.from_problems(problems)
    return changes


def _read(recipe: Recipe, override: str, before: Mapping[str, Change]) -> list[Change]:
    """What an override changes.

    Args:
        before: what others have changed, by name.
    """
    found = _PATTERN.fullmatch(override)
    if found is None:
        raise InputError(
            f"{override!r} is no override.", where="overrides", fix="Write path.to.field=value: trainer.max_steps=20."
        )
    written, operator, text = found.groups()
    if written in _WHOLE and operator == "=" and text in _NOTHING:
        return [Change(written, "checkpoint.load_path", "")]
    if written == _RUNS_FOLDER and operator == "=" and text in _NOTHING:
        return [Change(written, FIELDS[written], recipe.job.folder)]
    if written in FIXED or _group_of(written):
        _check_fixed(written, operator, text)
        return []
    if written in FIELDS:
        changes = [Change(written, FIELDS[written], _value(written, text))]
    else:
        changes = read_override(f"{written}={text}")
    return [_placed(recipe, change, operator, before) for change in changes]


def _placed(recipe: Recipe, change: Change, operator: str, before: Mapping[str, Change]) -> Change:
    """A change of a whole field: of one number in it, and by arithmetic, worked out."""
    found = _NUMBER_IN.fullmatch(change.name)
    name = found[1] if found else change.name
    values = flat(recipe.model_dump())
    if name not in values and not name.startswith(_LEFT_OUT):
        raise _unknown(change.written, values)
    current = before[name].value if name in before else values.get(name)
    if found is None:
        return Change(change.written, name, _combined(change.written, operator, current, change.value))
    numbers = list(current) if isinstance(current, list | tuple) and len(current) == 2 else [None, None]
    place = int(found[2])
    numbers[place] = _combined(change.written, operator, numbers[place], change.value)
    return Change(change.written, name, numbers)


def _combined(written: str, operator: str, current: Any, value: Any) -> Any:
    if operator == "=":
        return value
    is_number = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (current, value))
    if operator not in _ARITHMETIC or not is_number:
        raise InputError(
            f"{operator} does not fit {current!r} and {value!r}.", where=written, fix="Write the new value behind =."
        )
    if operator == "/=" and value == 0:
        raise InputError("is to be divided by 0.", where=written, fix="Write the new value behind =.")
    try:
        result = _ARITHMETIC[operator](current, value)
        return int(result) if isinstance(current, int) and float(result).is_integer() else result
    except OverflowError as error:
        raise InputError("becomes too large a number.", where=written) from error


def _value(written: str, text: str) -> Any:
    """What stands behind one of NeMo's names: a Python literal, or text."""
    if written in TEXTS:
        if text in _NOTHING:
            return ""
        try:
            path = given_path(text)
        except ValueError as error:
            raise InputError(str(error), where=written, fix="Give the path of a folder or file.") from error
        return str(path.absolute() if written == _RUNS_FOLDER else path)
    value = _literal(text)
    if written == "model.config.recompute_granularity":
        return next((ours for theirs, ours in RECOMPUTED.items() if theirs == value), value)
    return value


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text.strip())
        repr(value)  # raises ValueError where a number has too many digits to be told of
        return value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def _check_fixed(written: str, operator: str, text: str) -> None:
    """Raises InputError: the native engine has another value, or nothing of the kind."""
    if written in FIXED:
        only, fix = FIXED[written]
        if operator != "=" or _literal(text) != only:
            raise InputError(f"the native engine has {only!r} alone.", where=written, fix=fix)
        return
    raise InputError("the native engine does not support this.", where=written, fix=UNSUPPORTED[_group_of(written)])


def _group_of(written: str) -> str:
    """Which of the unsupported fields this is, or lies below; none is empty."""
    return next((name for name in UNSUPPORTED if f"{written}.".startswith(f"{name}.")), "")


def _unknown(written: str, own: Iterable[str]) -> InputError:
    near = difflib.get_close_matches(written, [*FIELDS, *own], n=1, cutoff=0.0)
    return InputError(
        "the native engine does not support this.",
        where=written,
        fix=f"The nearest that it supports is {near[0]}; the guide to nemo post-train lists them.",
    )
