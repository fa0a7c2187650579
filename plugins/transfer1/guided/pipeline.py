"""Guided generation: the room view first, then, guided by it, the wrist view; both held to the simulation in part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_cli import __version__
from cosmos_cli.files.scratch import scratch_array
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.load import Models, load_models
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import Result
from cosmos_cli.generation.settings import negative_prompt_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.video import write_video
from cosmos_cli.models.prompts import checked_prompt
from cosmos_cli.requests import request_document
from cosmos_cli.runtime.workers.agreement import together
from cosmos_plugins.transfer1 import inputs as plain
from cosmos_plugins.transfer1.checkpoints import choose_control, weight_paths
from cosmos_plugins.transfer1.chunks import Chunk, plan_chunks, take
from cosmos_plugins.transfer1.generation import Texts
from cosmos_plugins.transfer1.guided import inputs
from cosmos_plugins.transfer1.guided.controls import AnyFrames, mask_frames, resized, rgb_frames
from cosmos_plugins.transfer1.guided.episodes.written import write_episode
from cosmos_plugins.transfer1.guided.generation import GuidedGeneration
from cosmos_plugins.transfer1.guided.guidance import Held
from cosmos_plugins.transfer1.guided.previews import write_sheet, write_side_by_side
from cosmos_plugins.transfer1.guided.requests import GuidedRequest, GuidedSettings
from cosmos_plugins.transfer1.guided.room import held_in_room, room_sample
from cosmos_plugins.transfer1.guided.samples import GuidedSample
from cosmos_plugins.transfer1.guided.views import VIEWS, View
from cosmos_plugins.transfer1.guided.wrist import WristGuide, guide_wrist, held_in_wrist, wrist_sample
from cosmos_plugins.transfer1.networks import networks
from cosmos_plugins.transfer1.pipeline import refiners_of
from cosmos_plugins.transfer1.prompts.two_views import WRIST_SUFFIX
from cosmos_plugins.transfer1.samples import Sample

# F frames, H and W pixel height and width, C = 3 colours

_AT_ONCE = 16


@dataclass(frozen=True)
class Views:
    """What was made of an episode, each at its own size, (F, H, W, 3) uint8; it lies on disk.

    guide: what the wrist view was guided by.
    """

    room: np.ndarray
    guide: WristGuide
    wrist: np.ndarray

    def of(self, view: View) -> np.ndarray:
        return self.room if view == "room" else self.wrist


@dataclass(frozen=True, kw_only=True)
class GuidedResult(Result):
    """An episode that was written, and the videos beside it; the size is theirs."""

    episode: Path
    room_view: Path
    wrist_view: Path
    preview: Path | None
    num_frames: int
    fps: int
    num_chunks: int

    def _file(self) -> Path:
        return self.episode

    def _size(self) -> str:
        return f"2 views of {self.num_frames} frames, {super()._size()}"


class GuidedPipeline(Pipeline[GuidedSample, GuidedResult]):
    """A loaded Transfer1 model with the control branches of some requests; it serves every request with these.

    >>> request = GuidedRequest(source_data_dir="episodes/data_0.hdf5", output_data_dir="out")
    >>> GuidedPipeline.load(GuidedSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos transfer guided"
    tiny_note = "has random weights: whatever is not held to the simulation shows noise"
    needs_requests = True

    @classmethod
    def load_models(
        cls, settings: GuidedSettings, requests: Sequence[GuidedRequest], guardrails: Guardrails
    ) -> Models[Any, Any]:
        works = [work for request in requests for work in inputs.works_of(settings, request)]
        names = list(dict.fromkeys(name for request in requests for name in request.active_controls))
        refiner, refiners = refiners_of(settings.of_transfer, names)
        paths = weight_paths(settings.of_transfer, inputs.read(settings, requests[0]).asked.room)
        return load_models(
            settings,
            works,
            guardrails,
            networks(settings.of_transfer, paths, plain.branch_files(works)),
            what=f"{settings.model_size} with {', '.join(names)}",
            refiner=refiner,
            refiners=refiners,
        )

    def before(self, sample: GuidedSample) -> None:
        self.models.check_branches(sample.paths.controls)

    def make_all(self, sample: GuidedSample, clock: Clock) -> tuple[Any, list[str]]:
        is_below = sample.request.concat_video_second_view
        of_room = room_sample(sample)
        room_prompt = self._prompt(of_room, sample.prompts.room, clock)
        room = self._view(sample, of_room, held_in_room(sample), room_prompt, clock)
        with clock("warp"):
            guide = self.stages.run(lambda: guide_wrist(sample, room, self.device))
        of_wrist = wrist_sample(sample, room, guide)
        wrist_prompt = self._prompt(of_wrist, sample.prompts.wrist, clock, ending=WRIST_SUFFIX if is_below else "")
        wrist = self._view(
            sample, of_wrist, held_in_wrist(sample, guide), wrist_prompt, clock, only_lower_half=is_below
        )
        return Views(room, guide, wrist), [room_prompt, wrist_prompt]

    def _prompt(self, of_view: Sample, prompt: str, clock: Clock, *, ending: str = "") -> str:
        """The prompt to use, checked. ending: what is added to it, which is no part of what a model writes out."""
        with clock("check_prompt"):
            shown = choose_control([control.name for control in of_view.controls])
            if not self.models.refiners or shown is None:
                # as a whole, of which the verdict is known before anything is made
                self.guardrails.check_prompt(prompt + ending)
                return prompt + ending
            [control] = (control for control in of_view.controls if control.name == shown)
            first = self._chunks(of_view.num_frames, of_view.request.num_input_frames)[0]
            frames_FHWC = take(control.frames_FHWC, first)[: of_view.num_frames]
            way_out = "Leave out --upsample-prompt."
            refined = checked_prompt(prompt, frames_FHWC, self.guardrails, self.models.refiners, way_out=way_out)
            return refined + ending

    def _chunks(self, num_frames: int, overlap: int) -> list[Chunk]:
        return plan_chunks(num_frames, overlap, self.models.tokenizer.chunk_frames)

    def _view(
        self,
        sample: GuidedSample,
        of_view: Sample,
        held: Sequence[Held],
        prompt: str,
        clock: Clock,
        *,
        only_lower_half: bool = False,
    ) -> np.ndarray:
        """The frames of a view, checked, (F, H, W, 3) uint8, on disk."""
        top = of_view.height // 2 if only_lower_half else 0
        shape = (of_view.num_frames, of_view.height - top, of_view.width, 3)
        # on a full disk all processes must know that they cannot go on
        made_FHWC = together(lambda: scratch_array(shape, np.uint8, sample.outputs["episode"].parent))

        def make() -> np.ndarray:
            with clock("encode_text"):
                texts = Texts(*self.models.encode_prompts(prompt, negative_prompt_of(self.settings, sample.request)))
            generation = GuidedGeneration(
                self.models,
                of_view,
                [self.models.branches[of_view.paths.controls[control.name]] for control in of_view.controls],
                texts,
                clock,
                guidance=sample.request.guidance,
                held=held,
                sigma_threshold=sample.request.sigma_threshold,
                one_noise=sample.request.as_original,
            )
            first = 0
            for piece_FHWC in generation.pieces():
                # piece by piece, so that what is refused is refused early and no video is there twice
                checked_FHWC = self.checked(np.ascontiguousarray(piece_FHWC[:, top:]), clock)
                made_FHWC[first : first + len(checked_FHWC)] = checked_FHWC
                first += len(checked_FHWC)
            return made_FHWC

        return self.stages.run(make)

    def result(self, generated: Generated[GuidedSample], **common: Any) -> GuidedResult:
        sample, request = generated.sample, generated.sample.request
        return GuidedResult(
            episode=sample.outputs["episode"],
            room_view=sample.outputs["room_view"],
            wrist_view=sample.outputs["wrist_view"],
            preview=sample.outputs.get("preview"),
            height=request.height,
            width=request.width,
            num_frames=sample.episode.num_frames,
            fps=request.fps,
            num_chunks=2 * len(self._chunks(sample.episode.num_frames, request.num_input_frames)),
            **common,
        )

    def write_media(self, generated: Generated[GuidedSample]) -> None:
        sample, request, views = generated.sample, generated.sample.request, generated.frames
        outputs = sample.outputs
        for view, prompt in zip(VIEWS, generated.prompts, strict=True):
            saved = resized(views.of(view), request.height, request.width, _shrinking(request))
            write_video(outputs[f"{view}_view"], _one_by_one(saved), request.fps)
            with replacing(outputs[f"{view}_prompt"]) as temporary:
                temporary.write_text(prompt + "\n", encoding="utf-8")
        with replacing(outputs["episode"]) as temporary:
            write_episode(
                temporary,
                sample.episode,
                {view: _pieces(views.of(view)) for view in VIEWS},
                self._provenance(generated),
                resampling="linear" if request.as_original else "area",
            )
        if "preview" in outputs:
            rows = preview_rows(sample, views)
            write_side_by_side(outputs["preview"], rows, request.fps)
            write_sheet(outputs["sheet"], self.title(generated), rows)

    def _provenance(self, generated: Generated[GuidedSample]) -> Mapping[str, Any]:
        request = generated.sample.request.model_copy(update={"overwrite": False})
        return {
            "cosmos-cli": __version__,
            "command": self.command,
            "request": request_document(self.settings, request),
            **self.tells(generated),
        }

    def tells(self, generated: Generated[GuidedSample]) -> Mapping[str, Any]:
        sample = generated.sample
        return {
            "prompts_used": dict(zip(VIEWS, generated.prompts, strict=True)),
            "meta_prompt": sample.prompts.meta_prompt,
            "episode_seed": sample.seed,
        }


def preview_rows(sample: GuidedSample, views: Views) -> list[tuple[str, AnyFrames]]:
    """What an episode is at every stage: title and frames."""
    episode, foreground = sample.episode, sample.request.foreground
    return [
        ("simulation, room", rgb_frames(episode, "room")),
        ("held", mask_frames(episode, "room", foreground)),
        ("room view", views.room),
        ("simulation, wrist", rgb_frames(episode, "wrist")),
        ("room view, warped", views.guide.frames_FHWC),
        ("held: white, less: grey", views.guide.planes()),
        ("wrist view", views.wrist),
    ]


def _shrinking(request: GuidedRequest) -> int:
    return int(cv2.INTER_LINEAR if request.as_original else cv2.INTER_AREA)


def _pieces(frames_FHWC: AnyFrames) -> Iterator[np.ndarray]:
    for first in range(0, len(frames_FHWC), _AT_ONCE):
        yield frames_FHWC[first : first + _AT_ONCE]


def _one_by_one(frames_FHWC: AnyFrames) -> Iterator[np.ndarray]:
    for piece in _pieces(frames_FHWC):
        yield from piece
