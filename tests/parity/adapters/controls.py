"""Control videos computed from pixels, and how input videos are brought to size."""

from __future__ import annotations

import hashlib
import re

import cv2
import numpy as np
import torch
from torch import Tensor

from cosmos_cli.media.frames import to_video, to_video_over_128
from cosmos_cli.media.image import over_white
from cosmos_cli.media.resize import nearest_aspect_ratio, resize_bicubic, stretch
from cosmos_plugins.transfer1.controls.blur import blur
from cosmos_plugins.transfer1.controls.canny import outline
from cosmos_plugins.transfer1.controls.parallel import map_frames
from cosmos_plugins.transfer1.tiles import upscaled_size
from cosmos_plugins.transfer1.variants import VARIANTS
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden

CPU = torch.device("cpu")
INTERPOLATIONS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


def _channels_first(frames_FHWC: np.ndarray) -> Tensor:
    return torch.from_numpy(frames_FHWC).permute(3, 0, 1, 2)


def vis_and_edge(golden: Golden) -> Outputs:
    frames = golden.inputs["frames"].numpy()

    def control(name: str, preset: str, frames: np.ndarray = frames) -> Tensor:
        compute = {"vis": blur, "edge": outline}[name]
        return _channels_first(map_frames(lambda frame: compute(frame, preset), frames))

    ours: Outputs = {}
    for name in golden.outputs:
        if combined := re.fullmatch(r"combined_(.+)\.first_frame", name):
            parts = [control(*part, frames[:1]) for part in _parts(combined[1])]
            ours[name] = torch.cat(parts)[:, 0]
        elif name.startswith("vis."):
            ours[name] = control("vis", name.removeprefix("vis."))
        elif name.startswith("edge."):
            ours[name] = control("edge", name.removeprefix("edge."))[0]
    return ours


def _parts(text: str) -> list[tuple[str, str]]:
    """ "vis_medium_edge_low" and "edge_vis_low_high" (edge "high", vis "low") to names and presets, in order."""
    names = re.findall(r"vis|edge", text)
    presets = re.findall(r"very_low|very_high|low|medium|high|none", text)
    if not text.startswith(f"{names[0]}_{presets[0]}"):
        # names first: the presets are then those of vis and of edge
        preset_of = dict(zip(("vis", "edge"), presets, strict=True))
        return [(name, preset_of[name]) for name in names]
    return list(zip(names, presets, strict=True))


def sizes(golden: Golden) -> Outputs:
    names = list(golden.config["aspect_keys"])
    published = VARIANTS["7B"].sizes
    rows = [(int(h), int(w)) for h, w in golden.inputs["hw"]]
    ratios = [nearest_aspect_ratio(*row) for row in rows]
    targets = [published[ratio] for ratio in ratios]
    ours = {
        "aspect_index": torch.tensor([names.index(ratio.replace(":", ",")) for ratio in ratios]),
        "target_hw": torch.tensor(targets),
        "upscale_hw": torch.tensor(
            [upscaled_size(*size, ratio, 256) for size, ratio in zip(targets, ratios, strict=True)]
        ),
    }
    # Before it computes a control the original shrinks frames into 1280 x 704, even those of another ratio, which
    # then no longer fit their model. Ours have the size of generation by then; only the file's own rule is checked.
    golden_hw = golden.outputs["resize_frames_hw"]
    scale = [min(704 / h, 1280 / w, 1) for h, w in rows]
    shrunk = torch.tensor([(int(s * h + 0.5), int(s * w + 0.5)) for s, (h, w) in zip(scale, rows, strict=True)])
    ours["resize_frames_hw"] = torch.where(golden_hw < 0, golden_hw, shrunk)
    return ours


def read_and_resize(golden: Golden) -> Outputs:
    ours: Outputs = {}
    for name, frames in golden.inputs.items():
        if name.startswith("frames"):
            size = VARIANTS["7B"].sizes[nearest_aspect_ratio(*frames.shape[1:3])]
            for kind, flag in INTERPOLATIONS.items():
                stretched = np.stack([stretch(frame, *size, interpolation=flag) for frame in frames.numpy()])
                video = _channels_first(stretched).contiguous()
                ours[f"{name}.{kind}.sub16"] = video[..., ::16, ::16]
                digest = hashlib.sha256(video.numpy().tobytes()).digest()
                ours[f"sha256.{name}.{kind}"] = torch.tensor(list(digest), dtype=torch.uint8)
                ours[f"{name}.shape"] = torch.tensor(video.shape)
            # the rate of the file that was decoded; the file holds only its frames
            ours[f"{name}.fps"] = golden.outputs[f"{name}.fps"]
    rgb = over_white(golden.inputs["rgba"].numpy())[None]
    ours["rgba.rgb"] = _channels_first(rgb)[None]
    ours["rgba.normalised_bf16"] = to_video_over_128(rgb, CPU, torch.bfloat16)
    resized_hw = golden.outputs["rgba.normalised_resized_bf16"].shape[-2:]
    ours["rgba.normalised_resized_bf16"] = resize_bicubic(ours["rgba.normalised_bf16"][:, :, 0], *resized_hw)[
        :, :, None
    ]
    every_value = np.arange(256, dtype=np.uint8)[:, None, None, None].repeat(3, axis=-1)
    ours["uint8_to_bf16_pm1"] = to_video(every_value, CPU, torch.bfloat16)[0, 0, :, 0, 0]
    return ours


ADAPTERS = {
    "controls/vis_blur": Adapter(vis_and_edge, sources=("AddControlInput,",)),
    "controls/edge_canny": Adapter(vis_and_edge, sources=("AddControlInputEdge",)),
    "controls/aspect_ratio_and_sizes": Adapter(sizes, sources=("detect_aspect_ratio",)),
    "controls/read_and_resize": Adapter(read_and_resize, sources=("read_and_resize_input",)),
}
