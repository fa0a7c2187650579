"""The training loop of the originals for a control branch on a frozen base."""

from __future__ import annotations

from cosmos_cli.models.configs import ControlBranchConfig, GeneralDiTConfig
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Task
from cosmos_plugins.transfer1.task import ControlTask
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.predict1 import general_dit_options
from tests.parity.adapters.training import judge, log_variance_of, runs
from tests.parity.golden import Golden


def control(golden: Golden) -> Outputs:
    return runs(golden, lambda recipe: _task(golden, recipe))


def _task(golden: Golden, recipe: Recipe) -> Task:
    base_config = GeneralDiTConfig(**general_dit_options(golden.config["net"], condition_mask=True))
    given = golden.config["net_ctrl"]
    options = general_dit_options(given, condition_mask=True) | {"num_blocks": given["layer_mask"].index(True)}
    config = ControlBranchConfig(**options, hint_channels=given["hint_channels"])
    base = network_from(
        golden, lambda: GeneralDiT(base_config), "base_model.net.", tuple(stored_constants(base_config))
    )
    branch = network_from(golden, lambda: ControlBranch(config), "net.", tuple(stored_constants(config)))
    return ControlTask(recipe.loss, branch, base, log_variance_of(golden))


ADAPTERS = {"training/transfer1_control": Adapter(control, judge=judge)}
