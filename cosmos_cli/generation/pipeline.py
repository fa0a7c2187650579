"""The skeleton of every kind of generation: load once, then check, make, check and write, many times."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.transactions import transaction
from cosmos_cli.generation.load import Models, checked_guardrails
from cosmos_cli.generation.outputs import making_together
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.record import Result, write_sidecar
from cosmos_cli.generation.steps import Clock, OnStep
from cosmos_cli.generation.watch import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import Row, contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.runtime.devices import choose_device, computing, cores
from cosmos_cli.runtime.memory.placement import Stages
from cosmos_cli.runtime.shortcuts import COST
from cosmos_cli.runtime.workers.agreement import deciding, together
from cosmos_cli.runtime.workers.team import Team

if TYPE_CHECKING:
    from typing_extensions import Self

# F frames, V views, H and W pixel height and width, C = 3 colours


class Sample(Protocol):
    """A request whose inputs are read and brought to size.

    outputs: the files to write, among them "sidecar"; weights: where the model's weights lie, by name.
    height, width: of the picture that the networks make.
    """

    @property
    def request(self) -> Any: ...
    @property
    def outputs(self) -> Mapping[str, Path]: ...
    @property
    def weights(self) -> Mapping[str, Path]: ...


S = TypeVar("S", bound=Sample)
R = TypeVar("R", bound=Result)


class Inputs(Protocol):
    """What a kind's module `inputs` offers to commands; nothing in it imports torch.

    For the pipeline of one model it has `read(settings, request)`, which gives the sample of a request that was
    checked, `work_of(settings, request)` and `job_of(settings, request)`, its cost. A kind of several models has
    `plans_of(settings, request)` instead, a plan of each, and `plan_of(settings, request)`, that of all. A kind with
    batches has `key_of(settings, request)`, see `cosmos_cli.generation.identity.work_key`. A kind whose input takes
    long to read has `check_networks(settings, request)`, which looks into the weights before: it raises CheckpointError
    for what is damaged or of another network.
    """

    PIPELINE: str
    """Import string of the pipeline."""

    def check(
        self, settings: Any, request: Any, *, writes: bool = True, needs_weights: bool = True
    ) -> Callable[[], Any]:
        """Check one request as far as that goes without a model.

        Args:
            writes: whether files are written in the end, which must be possible then.
            needs_weights: whether weights that are missing are an error; a plan lists them instead.
        Returns:
            What reads the rest of the input and gives the sample.
        Raises:
            InputError: all that is wrong with the settings, the input and the output.
            CheckpointError: weights are missing.
        """

    def prompts_of(self, settings: Any, request: Any) -> list[str]:
        """All that a request wants to show; what it does not want may name anything."""


@dataclass(frozen=True)
class Generated(Generic[S]):
    """What was made, and is not yet on disk.

    frames: uint8 RGB, (F, H, W, 3); a picture is one frame. Of several views (V, F, H, W, 3); of views of several
        sizes what their kind says.
    seconds: stage to wall time in seconds.
    prompts: what was used in the end, for each chunk or view; none for models without text.
    not_run: stages that did not take part, in words.
    """

    sample: S
    frames: Any
    seconds: dict[str, float]
    prompts: list[str]
    not_run: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """The prompt that was used in the end; the first of several."""
        return self.prompts[0] if self.prompts else ""


class Pipeline(ABC, Generic[S, R]):
    """A loaded model that makes one kind of thing. A kind says what is its own; the rest stands here, once.

    Attributes:
        inputs: the kind's module of that name.
        command: what makes it on the command line, for the sidecar.
        tiny_note: what to know of what the tiny model makes, to be read after its name.
        check_stage: what the sidecar calls the check of what was made.
        needs_requests: whether requests say which networks to load, so that there must be some.
    """

    inputs: Any
    command: ClassVar[str]
    tiny_note: ClassVar[str] = "has random weights: the video shows noise"
    check_stage: ClassVar[str] = "check_video"
    needs_requests: ClassVar[bool] = False

    def __init__(self, settings: Any, models: Models[Any, Any]) -> None:
        self.settings, self.models = settings, models
        self._num_threads, self._making = torch.get_num_threads(), threading.Lock()

    # What a kind says

    @classmethod
    @abstractmethod
    def load_models(cls, settings: Any, requests: Sequence[Any], guardrails: Guardrails) -> Models[Any, Any]:
        """Load the networks for some requests; none stands for whatever the model may be asked."""

    def frames(self, sample: S, prompt: str, clock: Clock) -> np.ndarray:
        """The frames of one clip, unchecked: encode, denoise, decode. Starts afresh at each call.

        A kind without it makes its clips in a `make_all` of its own.
        """
        raise NotImplementedError

    @abstractmethod
    def result(self, generated: Generated[S], **common: Any) -> R:
        """What to tell of it. common: the fields of `Result`, but for the size."""

    @abstractmethod
    def write_media(self, generated: Generated[S]) -> None:
        """Write all files but the sidecar."""

    def check_prompts(self, sample: S) -> str:
        """The prompt to use. Raises GuardrailBlocked: a prompt of the sample was refused."""
        [prompt] = self.inputs.prompts_of(self.settings, sample.request)
        self.guardrails.check_prompt(prompt)
        return str(prompt)

    def make_all(self, sample: S, clock: Clock) -> tuple[Any, list[str]]:
        """All frames, checked, and the prompts that were used; kinds that make several clips loop here."""
        frames, prompt = self.make_clip(sample, clock)
        return frames, [prompt]

    def lacks(self, sample: S) -> Iterable[str]:
        """Stages that do not take part beside guardrails, in words."""
        return ()

    def before(self, sample: S) -> None:
        """Notice what a user should know before a sample is made. Raises InputError: this model cannot make it."""

    def tells(self, generated: Generated[S]) -> Mapping[str, Any]:
        """Entries of the sidecar that only this kind has."""
        return {}

    # What stands once

    @classmethod
    def load(cls, settings: Any, requests: Sequence[Any] = (), guardrails: Guardrails | None = None) -> Self:
        """Load a model, to serve many requests.

        Args:
            requests: what it will be asked, from which memory and several GPUs are planned, if that is known.
            guardrails: those of `checked_guardrails`, if the prompts have been checked.

        Raises:
            GuardrailBlocked: the prompts of all requests are refused; nothing is loaded.
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had, or requests are needed.
        """
        if cls.needs_requests and not requests:
            raise InputError(
                "are needed: they say which networks to load.",
                where="requests",
                fix="Give those that the model will be asked: load(settings, [request]).",
            )
        prompts = (cls.inputs.prompts_of(settings, request) for request in requests)
        guardrails = guardrails or checked_guardrails(settings, prompts)
        device = choose_device(settings.device)
        if settings.deterministic and device.type == "cuda":
            output.notice(f"deterministic: without {settings.gpu_shortcuts}; {COST}")
        with computing(device, settings.shortcuts):
            return cls(settings, cls.load_models(settings, requests, guardrails))

    def __call__(self, request: Any, *, on_step: OnStep | None = None) -> R:
        """Make one and write its files.

        Args:
            on_step: called after each denoising step.
        Raises:
            InputError, CheckpointError: as `check` of the kind's inputs.
            GuardrailBlocked: what goes in or what comes out was refused.
        """
        sample = self._read(self.inputs.check(self.settings, request))
        with making_together(sample.outputs.values(), overwrite=request.overwrite):
            return self.run(sample, on_step=on_step)

    def generate(self, request: Any, *, on_step: OnStep | None = None) -> Generated[S]:
        """Make one and write nothing; arguments and errors as for a call."""
        return self.make(self._read(self.inputs.check(self.settings, request, writes=False)), on_step=on_step)

    def run(self, sample: S, *, plans: Sequence[Plan] = (), on_step: OnStep | None = None) -> R:
        """Make and write a prepared sample; of several processes, every one must call this.

        Args:
            plans: what this run was planned to take, to stand beside what it took in the sidecar, if the process
                exists for it alone.
        """
        watch = Watch(plans[0], from_process_start=True) if plans else None
        return self.write(self.make(sample, on_step=on_step), watch)

    def prepare(self, request: Any) -> S:
        """Read the input of a request that was checked; in a thread of its own, while another is made.

        Raises:
            GuardrailBlocked: a prompt was refused, so that nothing is computed for it.
            InputError: the input can no longer be read.
        """

        def prepare() -> S:
            for prompt in self.inputs.prompts_of(self.settings, request):
                self.guardrails.check_prompt(prompt)
            with cores.taken(self.device):
                sample: S = self.inputs.read(self.settings, request)
                return sample

        with self._computing(), deciding(self.team.circle_ahead):
            return together(prepare)

    def _read(self, read: Callable[[], S]) -> S:
        with deciding(self.team.circle):
            return together(read)

    @torch.inference_mode()
    def make(self, sample: S, *, on_step: OnStep | None = None) -> Generated[S]:
        """Make a prepared sample; threads that ask for several at once wait for each other.

        Raises:
            GuardrailBlocked: what goes in or what comes out was refused.
        """
        with self._making, deciding(self.team.circle):
            return self._make(sample, on_step)

    def _make(self, sample: S, on_step: OnStep | None) -> Generated[S]:
        not_run = [*([self.guardrails.gap] if self.guardrails.gap else []), *self.lacks(sample)]
        for line in not_run:
            output.notice(line)
        self.before(sample)
        if self.settings.is_tiny:
            output.notice(f"the tiny model {self.tiny_note}")
        clock = Clock(on_step, device=self.device)
        with self._computing(), clock("total"), cores.at_work(self.device, self._num_threads):
            frames, prompts = self.make_all(sample, clock)
        return Generated(sample, frames, clock.seconds, prompts, not_run)

    def make_clip(self, sample: S, clock: Clock) -> tuple[np.ndarray, str]:
        """The checked frames of one clip, and the prompt that was used in the end."""
        with clock("check_prompt"):
            prompt = self.check_prompts(sample)
        frames = self.stages.run(lambda: self.frames(sample, prompt, clock))
        return self.checked(frames, clock), prompt

    def checked(self, frames: np.ndarray, clock: Clock) -> np.ndarray:
        """Frames that may be written, of one view or of several. Raises GuardrailBlocked."""
        with clock(self.check_stage):
            return self.guardrails.check_video(frames.reshape(-1, *frames.shape[-3:])).reshape(frames.shape)

    def write(self, generated: Generated[S], watch: Watch | None = None) -> R:
        """Write the files, which appear together. Of several processes that made it together, one writes.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        with transaction(generated.sample.outputs.values()):
            return self._write(generated, watch)

    def _write(self, generated: Generated[S], watch: Watch | None) -> R:
        sample, seconds = generated.sample, generated.seconds
        # without a device: it may be at work on the next
        with self._computing(), Clock(seconds=seconds)("write"), cores.taken(self.device):
            if self.team.is_writer:
                self.write_media(generated)
        seconds["total"] += seconds["write"]
        result = self.result(
            generated,
            sidecar=sample.outputs["sidecar"],
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=generated.not_run,
        )
        with self._computing():
            compared = watch.finish(seconds) if watch else {}
        if self.team.is_writer:
            write_sidecar(
                result.sidecar,
                self.command,
                self.settings,
                sample.request,
                self.models,
                result=result,
                weights=sample.weights,
                num_threads=self._num_threads,
                more={**self._work(sample), **self.tells(generated), **compared},
            )
        return result

    def _work(self, sample: S) -> Mapping[str, str]:
        """What a batch knows this piece of work by, where the kind has batches."""
        key_of = getattr(self.inputs, "key_of", None)
        return {} if key_of is None else {"work_key": key_of(self.settings, sample.request)}

    def _computing(self) -> AbstractContextManager[None]:
        """A block in which the calling thread computes for this pipeline; another may have another device."""
        return computing(self.device, self.settings.shortcuts)

    def write_video(
        self, generated: Generated[S], frames: Iterable[np.ndarray], fps: float, rows: Iterable[Row]
    ) -> None:
        """Write the video of a sample and, where one is asked for, its contact sheet.

        Args:
            frames: (H, W, 3) uint8 each.
            rows: of the sheet.
        """
        outputs = generated.sample.outputs
        write_video(outputs["video"], frames, fps)
        if "preview" in outputs:
            write_png(outputs["preview"], contact_sheet(self.title(generated), list(rows)))

    def title(self, generated: Generated[S]) -> str:
        """Of the contact sheet."""
        return generated.prompt

    @property
    def stages(self) -> Stages:
        return self.models.stages

    @property
    def team(self) -> Team:
        """The processes that this pipeline works with."""
        return self.models.team

    @property
    def guardrails(self) -> Guardrails:
        return self.models.guardrails

    @property
    def device(self) -> torch.device:
        return self.models.device

    @property
    def dtype(self) -> torch.dtype:
        return self.models.dtype
