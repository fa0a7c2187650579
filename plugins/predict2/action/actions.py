"""Reading a robot's actions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.stores import here
from cosmos_cli.runtime.memory.host import raise_if_too_little
from cosmos_plugins.predict2.variants import ACTION_WIDTH

if TYPE_CHECKING:
    import numpy as np

# N actions, A = 7 numbers of one: displacement along and turn about three axes, width of the gripper

FIELD = "--input-annotation"
MAX_ACTIONS = 1_000_000
MAX_BYTES = 64 << 20
"""Of an array: more than a million actions."""
SCALE = 20
"""By how much displacements and turns are enlarged for the network; they are small beside the gripper's 0 to 1."""


def read_actions(path: Path) -> np.ndarray:
    """All actions of a file as the network reads them, (N, 7) float64.

    An annotation holds displacements and turns in their own units and the gripper's width at each of N + 1 frames; a
    plain array is taken as it is.

    Raises:
        InputError: the file is none of these, or holds what is no finite number.
    Source: cosmos-predict2 661da47, examples/video2world_action.py (behaviour).
    """
    import numpy as np

    if path.suffix.lower() == ".npy":
        try:
            # mapped: a header may promise more than there is memory, and more than can be counted
            with np.errstate(over="raise"):
                array = np.load(here(path), mmap_mode="r", allow_pickle=False)
        except CosmosError:
            raise
        except Exception as error:  # a parser over bytes of anybody can trip in any way; all mean that the file is bad
            raise_if_too_little(error, path)
            raise InputError(f"{path} cannot be read as an array: it is damaged, or no array.", where=FIELD) from error
        if not isinstance(array, np.ndarray):
            array.close()
            raise InputError(f"{path} may hold several arrays.", where=FIELD, fix="Save the one as .npy.")
        if array.nbytes > MAX_BYTES:
            raise InputError(
                f"{path} holds {array.nbytes:,} bytes of numbers, and at most {MAX_BYTES:,} can be read.", where=FIELD
            )
        return _checked(np.asarray(array), path)
    document = read_json(path)
    if not isinstance(document, dict):
        return _checked(_numbers(document, str(path)), path)
    missing = [key for key in ("action", "continuous_gripper_state") if key not in document]
    if missing:
        raise InputError(
            f"{path} has no {' and no '.join(repr(key) for key in missing)}.",
            where=FIELD,
            fix='Give an annotation with "action" and "continuous_gripper_state", or an array of rows of 7 numbers.',
        )
    moves_NA = _numbers(document["action"], f'{path}, "action"')
    gripper_F = _numbers(document["continuous_gripper_state"], f'{path}, "continuous_gripper_state"')
    if moves_NA.ndim != 2 or moves_NA.shape[1] < ACTION_WIDTH - 1:
        raise InputError(
            f'{path} has an "action" of shape {moves_NA.shape}, not rows of at least {ACTION_WIDTH - 1} numbers.',
            where=FIELD,
        )
    if gripper_F.shape != (len(moves_NA) + 1,):
        raise InputError(
            f"{path} has {len(moves_NA)} actions and gripper states of shape {gripper_F.shape}: one state is needed "
            "before the first action and one after each.",
            where=FIELD,
        )
    return _checked(np.concatenate([moves_NA[:, : ACTION_WIDTH - 1] * SCALE, gripper_F[1:, None]], axis=1), path)


def _numbers(value: Any, name: str) -> np.ndarray:
    import numpy as np

    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not an array of numbers: {error}.", where=FIELD) from error


def _checked(actions: np.ndarray, path: Path) -> np.ndarray:
    import numpy as np

    if actions.ndim and len(actions) > MAX_ACTIONS:
        raise InputError(
            f"{path} has {len(actions):,} actions, more than {MAX_ACTIONS:,}.", where=FIELD, fix="Divide it."
        )
    if actions.ndim != 2 or actions.shape[1] != ACTION_WIDTH or actions.dtype.kind not in "fiu":
        raise InputError(
            f"{path} has numbers of shape {actions.shape}, not rows of {ACTION_WIDTH}.",
            where=FIELD,
            fix=f"Give one row of {ACTION_WIDTH} numbers per action.",
        )
    if not np.isfinite(actions).all():
        raise InputError(f"{path} has values that are no finite numbers.", where=FIELD)
    return actions.astype(float)
