"""The whole contract between `cosmos` and a plugin.

A plugin is a module named in the entry-point group `cosmos.plugins`. It implements any of the hooks below
with `@hookimpl`; each hook is handed a `register` function and calls it once per thing it brings.
Import strings ("package.module:attribute") are resolved only when the thing is used, so a plugin module
imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import pluggy

ENTRY_POINT_GROUP = "cosmos.plugins"
GUARDRAIL_GROUP = "cosmos.guardrails"
"""Entry points that declare a guardrail: its name, and the plugin module that registers it.

So a package that cannot be imported is known to lack its guardrail, and nothing is made without it.
"""

hookspec = pluggy.HookspecMarker("cosmos")
hookimpl = pluggy.HookimplMarker("cosmos")


class RegisterFamily(Protocol):
    def __call__(
        self,
        *,
        name: str,
        help: str,
        commands: str,
        checkpoints: str | None = None,
        formats: str | None = None,
        example: str | None = None,
        workbench: str | None = None,
    ) -> None:
        """Claim `cosmos <name>`.

        Args:
            name: lower-case word that becomes the sub-command.
            help: one line for `cosmos --help`.
            commands: import string of a `typer.Typer` with the family's commands.
            checkpoints: import string of its catalogue, a mapping of model names to what each needs: a sequence of
                `cosmos_cli.checkpoints.catalogue.Repository`, its own first. The main model comes first.
            formats: import string of the shapes in which those files load, a sequence of
                `cosmos_cli.checkpoints.formats.Format`.
            example: a short command line, from its name on; `cosmos --help` shows two of all.
            workbench: import string of what `cosmos workbench` shows: a `cosmos_cli.workbench.kind.Kind` or a sequence
                of them, one for each command.
        """


class RegisterExtension(Protocol):
    def __call__(self, *, name: str, help: str, factory: str) -> None:
        """Add an extension.

        Args:
            name: unique among extensions of its kind.
            help: one line for `cosmos plugins info`.
            factory: import string of a callable that returns the extension. It is given those of these keyword
                arguments that it names, all with `**kwargs`:
                `device: str`, where the run computes, such as "cuda:0";
                `offload: bool`, whether to leave the device except while the extension works;
                `checkpoint_dir: pathlib.Path`, the checkpoint folder of the run, for weights of its own;
                `settings: pydantic.BaseModel`, what the run is loaded with: the settings model of its command, whose
                fields differ from family to family.
                The factory of a batch engine builds nothing for a device, and is given `device` as the user names it,
                such as "auto", no `offload`, and `num_workers: int | None`, what `--num-workers` says.
        """


@dataclass(frozen=True)
class Package:
    """An optional package of somebody else.

    name: as it is imported, without submodules. does: what it is there for, such as "finds people".
    install: what `pip install` is told to get it.
    """

    name: str
    does: str
    install: str


class RegisterControl(Protocol):
    def __call__(
        self,
        *,
        name: str,
        help: str,
        checkpoint: str,
        compute: str | None = None,
        interpolation: Literal["linear", "nearest"] = "linear",
        source_frames: bool = False,
        models: str | None = None,
        needs: Package | None = None,
        save_computed: bool = True,
        upscales: bool = False,
        driving: bool = False,
        distilled: str | None = None,
        train: str | None = None,
    ) -> None:
        """Add a control modality.

        Args:
            name: its key in a control specification.
            help: one line for `cosmos plugins info`.
            checkpoint: weights of its control branch, relative to the checkpoint folder.
            compute: import string of `compute(frames_FHWC, job) -> frames_FHWC`, uint8 RGB of equal shape, which
                makes the control video out of the input video; None if it must be given. `job.request` is the
                request, `job.control` this control's part of it, `job.device` where to compute,
                `job.checkpoint_dir` the checkpoint folder, and `job.cached({...}, make)` keeps what `make()` gives
                for the next time.
            interpolation: how its control video is resized, "linear", or "nearest" for labels.
            source_frames: `compute` gets the frames in the input's own size, with at most 1280 pixels a side,
                instead of stretched to the size of generation.
            models: import string of the models that `compute` reads from the checkpoint folder, a sequence of
                `cosmos_cli.checkpoints.catalogue.Repository`; those that are missing are named before anything loads,
                and `cosmos download` fetches them. The tiny models go without this check.
            needs: a package that `compute` imports and that may not be installed.
            train: import string of `train(frames_FHWC, generator) -> frames_FHWC`, which makes the control video of a
                clip that is trained on, with strengths that the torch generator decides; None if it must lie beside
                the clip.
            save_computed: the control video that `compute` makes is written beside the output; False where it is the
                input video itself.
            upscales: the video is made three times as large, in overlapping tiles, each under its part of the control
                video. Such a control goes alone.
            driving: its branch belongs to the base model for driving scenes, and not to the usual one.
            distilled: weights of its distilled model, base and control branch in one, relative to the checkpoint
                folder; None if there is none.
        """


class RegisterDoctorCheck(Protocol):
    def __call__(self, *, name: str, help: str, check: str) -> None:
        """Add a check to `cosmos doctor`.

        Args:
            name: unique among checks; shown after the name of the plugin.
            help: one line for `cosmos plugins info`.
            check: import string of `check(checkpoint_dir: pathlib.Path)`, which returns a
                `cosmos_cli.health.Finding` within seconds; the folder need not exist.
        """


class RegisterRecipes(Protocol):
    def __call__(self, *, name: str, help: str, family: str, recipes: str) -> None:
        """Add post-trainings to `cosmos <family> post-train`.

        Args:
            name: unique among collections of recipes.
            help: one line for `cosmos plugins info`.
            family: whose command runs them.
            recipes: import string of a mapping of experiment names to `cosmos_cli.training.recipe.Recipe`. The module
                imports no torch; each recipe names its task by an import string of its own.
        """


class RegisterDemo(Protocol):
    def __call__(self, *, name: str, help: str, part: str) -> None:
        """Add a part to `cosmos demo`.

        Args:
            name: unique among parts; its folder in that of the demo, and what `cosmos demo <name>` makes alone.
            help: one line for `cosmos plugins info`.
            part: import string of `part(folder: pathlib.Path, seed: int)`, which writes what the part begins with into
                the folder, within seconds, and returns a `cosmos_cli.demo.part.Part`: the command to run, and what to
                show of it. The same seed gives the same bytes. No network, no weights but those of the package.
        """


@hookspec
def cosmos_register_families(register: RegisterFamily) -> None:
    """Called once at start-up. Register each model family, with the Typer app that holds its commands."""


@hookspec
def cosmos_register_guardrails(register: RegisterExtension) -> None:
    """Called once at start-up. Register checks of prompts and videos.

    The factory returns a `cosmos_cli.guardrails.Guardrail`. All registered guardrails run in every family,
    in order of their names. The package also declares each in the entry-point group `cosmos.guardrails`; one that is
    declared and not registered, or whose hook breaks or registers nothing, blocks every generation.
    """


@hookspec
def cosmos_register_prompt_refiners(register: RegisterExtension) -> None:
    """Called once at start-up. Register rewriters of short prompts.

    The factory returns a callable `refine(prompt: str, frames_FHWC: numpy.ndarray) -> str`, given the
    conditioning frames as uint8 RGB. The first refiner by name is used.
    """


@hookspec
def cosmos_register_critics(register: RegisterExtension) -> None:
    """Called once at start-up. Register judges of finished videos.

    The factory returns a `cosmos_cli.critics.Critic`. It judges where the user asks for it by name (`--critic`).
    """


@hookspec
def cosmos_register_batch_engines(register: RegisterExtension) -> None:
    """Called once at start-up. Register what works off batches in place of this machine (`--engine`).

    The factory returns a `cosmos_cli.batch.engines.Engine`.
    """


@hookspec
def cosmos_register_controls(register: RegisterControl) -> None:
    """Called once at start-up. Register control modalities for controlled video generation."""


@hookspec
def cosmos_register_doctor_checks(register: RegisterDoctorCheck) -> None:
    """Called once at start-up. Register checks of the machine, for what the plugin needs beyond the core."""


@hookspec
def cosmos_register_recipes(register: RegisterRecipes) -> None:
    """Called once at start-up. Register post-trainings for a family, one's own or another's."""


@hookspec
def cosmos_register_demos(register: RegisterDemo) -> None:
    """Called once at start-up. Register what `cosmos demo` shows of the family."""
