"""Rendered clips to train on: `data.source=cosmos_cli.worlds.source:RenderedClips`, and the like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import registry
from cosmos_cli.errors import InputError
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.worlds.cast import Split, draw
from cosmos_cli.worlds.exact import Chance
from cosmos_cli.worlds.pictures import depth_picture, label_picture, mask_colours
from cosmos_cli.worlds.render import Rendered, render
from cosmos_cli.worlds.scene import Scene

if TYPE_CHECKING:
    from cosmos_cli.models.t5 import T5TextEncoder

# F frames of all views, one view after the other; H and W pixel height and width; L text positions, C channels

_KNOWN_HINTS = ("depth", "seg")
"""Controls that the renderer knows exactly; others are computed from the picture, as from any clip."""

Compute = Callable[[np.ndarray, torch.Generator], np.ndarray]


class RenderedClips:
    """Clips of one camera, `data.num_mock_clips` of them, from `trainer.seed` and their number.

    With `data.text_encoder` the text is the embedding of the caption, else there is none: zeros.

    Raises:
        InputError: the recipe asks for several views, or for a control that is neither known nor computed.
    """

    split: Split = "train"
    hints_stand_apart = True
    most_views = 1
    of_several_views = "RenderedViews"
    """The source to name where there are more."""

    def __init__(self, recipe: Recipe) -> None:
        self._data, self._seed = recipe.data, recipe.trainer.seed
        self._encoder: T5TextEncoder | None = None
        data = self._data
        if data.num_views > self.most_views:
            raise InputError(
                f"{data.num_views} views, but this source renders at most {self.most_views}.",
                where="data.num_views",
                fix=f"Set data.source=cosmos_cli.worlds.source:{self.of_several_views} for up to {len(CAMERAS)} views."
                if self.most_views == 1
                else f"Set data.num_views to {self.most_views} at most.",
            )
        if data.hint and data.hint not in _KNOWN_HINTS and self._control(data.hint) is None:
            raise InputError(
                f"{data.hint} is neither known of rendered clips nor computed from clips.",
                where="data.hint",
                fix=f"Set {', '.join(_KNOWN_HINTS)}, edge, vis or upscale.",
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_encoder": None}  # each process loads its own

    def __len__(self) -> int:
        return self._data.num_mock_clips

    def check(self) -> None:
        """Look at what clips need.

        Raises:
            InputError: nothing fits into pictures of this shape, or the text encoder is of another width.
            CheckpointError: the text encoder is missing or damaged.
        """
        self.scene(0)
        if not self._data.text_encoder:
            return
        from transformers import T5Config

        from cosmos_cli.models.t5 import check_encoder

        check_encoder(self._encoder_folder)
        width = T5Config.from_pretrained(self._encoder_folder, local_files_only=True).d_model
        if width != self._data.text_channels:
            raise InputError(
                f"makes embeddings {width} wide; the model reads {self._data.text_channels}.",
                where=self._data.text_encoder,
                fix="Set data.text_encoder to the encoder of this model.",
            )

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the pictures of a number."""
        return self._data.height, self._data.width

    def scene(self, index: int) -> Scene:
        """The world of a number. Raises InputError: nothing fits into pictures of this shape."""
        data = self._data
        try:
            return draw(
                index, self.size(index), data.num_frames, split=self.split, num_views=data.num_views, world=self._world
            )
        except ValueError as error:
            raise InputError(
                f"{error}.", where="data.height, data.width", fix="Set sizes nearer to each other."
            ) from error

    def texts(self, scene: Scene) -> list[str]:
        """What each view reads."""
        return [scene.caption()]

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number; `generator` decides on colours and strengths of controls alone."""
        data, scene = self._data, self.scene(index)
        seen = [render(scene, self.size(index), view) for view in range(data.num_views)]
        frames_FHWC = np.concatenate([each.rgb_FHW3 for each in seen])
        rows = data.view_indices
        return Example(
            f"rendered clip {index} ({self.split})",
            torch.from_numpy(frames_FHWC),
            torch.cat([self._embedded(text) for text in self.texts(scene)]),
            data.fps,
            hints_FHWC={data.hint: self._hint(data.hint, scene, seen, frames_FHWC, generator)} if data.hint else {},
            extras={"view_indices": torch.tensor(rows)} if rows else {},
        )

    @property
    def _world(self) -> int:
        """Trainings with other seeds see other clips; held-out clips are the same for all."""
        return self._seed if self.split == "train" else 0

    def _hint(
        self, hint: str, scene: Scene, seen: list[Rendered], frames_FHWC: np.ndarray, generator: torch.Generator
    ) -> Tensor:
        if hint == "depth":
            return torch.from_numpy(depth_picture(np.concatenate([each.depth_FHW for each in seen])))
        if hint == "seg":
            chance = Chance(int(torch.randint(1 << 31, (1,), generator=generator)))
            colours = mask_colours(len(scene.bodies), chance)
            return torch.from_numpy(label_picture(np.concatenate([each.labels_FHW for each in seen]), colours))
        control = self._control(hint)
        assert control is not None
        compute: Compute = control.resolve_train()
        return torch.from_numpy(compute(frames_FHWC, generator))

    @staticmethod
    def _control(hint: str) -> Any:
        """A control, if it is computed from clips."""
        control = registry.current().controls.get(hint)
        return control if control is not None and control.train is not None else None

    @property
    def _encoder_folder(self) -> Path:
        return Path(self._data.text_encoder)

    def _embedded(self, text: str) -> Tensor:
        data = self._data
        text_LC = torch.zeros(data.text_tokens, data.text_channels)
        if data.text_encoder:
            if self._encoder is None:
                from cosmos_cli.models.t5 import T5TextEncoder

                self._encoder = T5TextEncoder(self._encoder_folder, dtype=torch.float32, device=torch.device("cpu"))
            kept_LC = self._encoder.encode(text)[0][0, : data.text_tokens]
            text_LC[: len(kept_LC)] = kept_LC
        return text_LC


class RenderedViews(RenderedClips):
    """Clips of up to six cameras around a rig, in the order of `generation.cameras`, at the same moments.

    As from folders, the front view reads a caption and the others the sentence of their camera, unless
    `data.captions_of_all_views` has each read both.
    """

    most_views = len(CAMERAS)
    of_one_view = "RenderedClips"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.data.num_views < 2:
            raise InputError(
                "needs at least 2 views.", where="data.num_views", fix=f"Set {self.of_one_view} for one view."
            )

    def texts(self, scene: Scene) -> list[str]:
        texts = []
        for view, camera in zip(range(len(scene.views)), CAMERAS, strict=False):
            if self._data.captions_of_all_views:
                texts.append(f"{camera.sentence} {scene.caption(view)}")
            else:
                texts.append(camera.sentence if view else scene.caption(view))
        return texts


class RenderedPieces(RenderedClips):
    """Pieces of clips that are nearly twice as wide and as long, of one camera or of one on a rig, for tokenizers.

    With `data.hint` "all", every fourth shows a control in place of the picture: edges, depth, labels or a blurred
    clip. There is no text.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._shows_controls = recipe.data.hint == "all"
        data = recipe.data.model_copy(update={"hint": "", "text_encoder": ""})
        super().__init__(recipe.model_copy(update={"data": data}))

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The piece of a number; `generator` decides where it lies."""
        data = self._data
        height, width, num_frames = data.height, data.width, data.num_frames
        size = (height * 4 // 3 // 16 * 16, width * 7 // 5 // 16 * 16)
        is_on_rig = index % 3 == 2
        if is_on_rig:
            size = (height, width)
        scene = draw(
            index, size, 2 * num_frames - 1, split=self.split, num_views=6 if is_on_rig else 1, world=self._world
        )
        seen = render(scene, size, index % len(scene.views))
        shown_FHWC = self._control_picture(scene, seen, generator) if self._shows_controls and index % 4 == 3 else None
        first, top, left = (
            int(torch.randint(most + 1, (), generator=generator))
            for most in (num_frames - 1, size[0] - height, size[1] - width)
        )
        frames_FHWC = seen.rgb_FHW3 if shown_FHWC is None else shown_FHWC
        piece_FHWC = frames_FHWC[first : first + num_frames, top : top + height, left : left + width]
        text_LC = torch.zeros(data.text_tokens, data.text_channels)
        return Example(f"rendered piece {index}", torch.from_numpy(piece_FHWC.copy()), text_LC, data.fps)

    def _control_picture(self, scene: Scene, seen: Rendered, generator: torch.Generator) -> np.ndarray:
        hint = ("edge", "depth", "seg", "vis")[int(torch.randint(4, (), generator=generator))]
        return self._hint(hint, scene, [seen], seen.rgb_FHW3, generator).numpy()


class LabelledClips(RenderedClips):
    """Clips of one camera with all that is known of them, for what learns to see. There is no text.

    Half of them are of the recipe's size, lying; the others are higher, up to its size upright: what learns of one
    shape alone sees little in another. So a batch is one clip.

    `extras`: depth (F, H, W) in metres along the camera's z, float32, and labels (F, H, W) uint8, 0 the room, else
    1 + body.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.model_copy(update={"data": recipe.data.model_copy(update={"text_encoder": ""})}))

    def size(self, index: int) -> tuple[int, int]:
        """The longer side is that of the recipe: wide, less wide, square, higher, upright."""
        short, long = sorted((self._data.height, self._data.width))
        middle = (short + long) // 2 // 8 * 8
        wide, less, square = (short, long), (middle, long), (long, long)
        upright = less[::-1] if index % 16 < 8 else wide[::-1]
        return (wide, less, wide, square, wide, less, wide, upright)[index % 8]

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number, whatever the generator."""
        data, scene = self._data, self.scene(index)
        seen = render(scene, self.size(index))
        known = {"depth": torch.from_numpy(seen.depth_FHW), "labels": torch.from_numpy(seen.labels_FHW)}
        text_LC = torch.zeros(data.text_tokens, data.text_channels)
        frames_FHWC = torch.from_numpy(seen.rgb_FHW3)
        return Example(f"labelled clip {index}", frames_FHWC, text_LC, data.fps, extras=known)


class HeldOutClips(RenderedClips):
    """Clips that no training sees, the same whatever its seed."""

    split: Split = "held-out"
    of_several_views = "HeldOutViews"


class HeldOutViews(RenderedViews):
    """The same of several cameras."""

    split: Split = "held-out"
    of_one_view = "HeldOutClips"
