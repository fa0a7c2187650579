"""In which shapes the files of Transfer1 load, published ones and those of trainings."""

from __future__ import annotations

from dataclasses import replace

from cosmos_cli.checkpoints.formats import Format
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_plugins.transfer1.checkpoints import DEPTH_ESTIMATOR, OBJECT_FINDER, PEOPLE_FINDER, UPSAMPLER
from cosmos_plugins.transfer1.multiview.checkpoints import MODELS
from cosmos_plugins.transfer1.variants import VARIANTS

# The originals begin with averaged weights where a file holds them beside the others; but a distilled file is
# taken out of `model`.
# Source: cosmos-transfer1, diffusion/model/model_ctrl.py, inference/world_generation_pipeline.py (behaviour).
_AVERAGED_FIRST = ("ema", "model", "module", "state_dict")

BASE = replace(PUBLISHED, prefixes=("base_model.net.", "net.", ""), wrappers=_AVERAGED_FIRST)
"""A base network: files of a whole model have it beside the control branch, those for driving scenes alone."""

BRANCH = replace(PUBLISHED, wrappers=_AVERAGED_FIRST)
"""A control branch; files of a training have the base beside it."""

DISTILLED_BASE = replace(PUBLISHED, prefixes=("net.base_model.net.",), beside=(*PUBLISHED.beside, "net.net_ctrl.*"))
DISTILLED_BRANCH = replace(PUBLISHED, prefixes=("net.net_ctrl.",), beside=(*PUBLISHED.beside, "net.base_model.*"))
"""Both are in one file."""

_FOLDER, _AV_FOLDER = VARIANTS["7B"].folder, VARIANTS["7B"].av_folder
_ANNOTATORS = "tests/plugins/transfer1/test_annotators.py"

FORMATS = (
    Format(f"{_FOLDER}/base_model.pt", {"base": BASE}),
    *(
        Format(f"{_FOLDER}/{name}_control.pt", {"control branch": BRANCH})
        for name in ("vis", "edge", "depth", "seg", "keypoint", "4kupscaler")
    ),
    Format(f"{_FOLDER}/edge_control_distilled.pt", {"base": DISTILLED_BASE, "control branch": DISTILLED_BRANCH}),
    Format(f"{_AV_FOLDER}/base_model.pt", {"base": BASE}),
    *(Format(f"{_AV_FOLDER}/{name}_control.pt", {"control branch": BRANCH}) for name in ("hdmap", "lidar")),
    *(
        Format(f"{MODELS.name}/{file.path}", {"control branch": BRANCH} if "control" in file.path else {"base": BASE})
        for file in MODELS.files
    ),
    Format(
        f"{UPSAMPLER.name}/",
        layout="Mistral's own (params.json, consolidated.safetensors, tekken.json) or as transformers writes it, here "
        "or in a folder for the modality",
        test="tests/plugins/transfer1/test_upsampler.py",
    ),
    *(
        Format(f"{repository.name}/", layout="as transformers writes it", test=_ANNOTATORS)
        for repository in (*DEPTH_ESTIMATOR, *OBJECT_FINDER)
    ),
    *(
        Format(f"{repository.name}/", layout="ONNX, in the archives that are published", test=_ANNOTATORS)
        for repository in PEOPLE_FINDER
    ),
)
"""Of every published file, besides those that other families read, too."""
