"""Makes the tiny annotators that ship with the package: same networks, file layout and readers as the published models.

`python -m cosmos_plugins.transfer1.controls.tiny_annotators depth EXPORT [FOLDER]` writes what a training by the recipe
`tiny_depth` has exported into a checkpoint folder, by default that of what ships.

`python -m cosmos_plugins.transfer1.controls.tiny_annotators random [FOLDER]` writes the others, with random weights.
What they see means nothing, but it follows the picture: the detector finds a few boxes for any prompt, and the tracker
finds some part of every picture.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
    SwinConfig,
)

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.tiny import random_weights
from cosmos_plugins.transfer1.controls.tiny_networks import DEPTH_PATCH, DEPTH_SIZE, depth_network
from cosmos_plugins.transfer1.learning.pictures import MEAN, STD, filled

SEED = 20260103
DEPTH, DETECTOR, TRACKER = (
    "depth-anything/Depth-Anything-V2-Tiny",
    "IDEA-Research/grounding-dino-tiniest",
    "facebook/sam2-hiera-tiniest",
)
_WIDTH = 32


def make(root: Path = TINY_ROOT) -> None:
    """Write the detector with its tokenizer and the tracker under the checkpoint folder `root`."""
    _make_detector(root / DETECTOR)
    _make_tracker(root / TRACKER)


def ship_depth(export: Path, root: Path = TINY_ROOT) -> None:
    """Write the depth estimator that a training by the recipe `tiny_depth` has exported.

    Raises:
        CheckpointError: the export is missing, damaged or of another network.
    """
    folder = root / DEPTH
    _save(filled(depth_network(), export), folder)
    _write_processor(
        folder,
        image_processor_type="DPTImageProcessor",
        size={"height": DEPTH_SIZE, "width": DEPTH_SIZE},
        keep_aspect_ratio=True,
        ensure_multiple_of=DEPTH_PATCH,
        resample=3,
        do_pad=False,
        size_divisor=None,
    )


def _make_detector(folder: Path) -> None:
    tokenizer = _tokenizer()
    text = BertConfig(
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        hidden_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * _WIDTH,
        max_position_embeddings=256,
    )
    backbone = SwinConfig(
        image_size=160,
        embed_dim=16,
        depths=[1, 1, 1],
        num_heads=[1, 2, 4],
        window_size=5,
        mlp_ratio=2.0,
        out_features=["stage2", "stage3"],  # type: ignore[call-arg]  # an option of every backbone, hidden by its dataclass
    )
    model = _random(
        GroundingDinoForObjectDetection(
            GroundingDinoConfig(
                backbone_config=backbone,
                text_config=text,
                d_model=_WIDTH,
                num_queries=4,
                num_feature_levels=3,
                encoder_layers=1,
                decoder_layers=2,
                encoder_ffn_dim=2 * _WIDTH,
                decoder_ffn_dim=2 * _WIDTH,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
            )
        )
    )
    # Agreement of picture and word is a product of two normalised vectors: kept small, so that no word is out of reach.
    # The words' vectors share a direction that the picture's lack; give the picture's some of it, and all scores shift.
    nn.init.constant_(model.model.decoder.layer_norm.weight, 0.2)
    nn.init.ones_(model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after.bias)
    with torch.no_grad():
        model.model.encoder_output_bbox_embed.layers[-1].bias[2:] = 2.0  # boxes that one can see
    _save(model, folder)
    tokenizer.save_pretrained(folder)
    _write_processor(
        folder,
        image_processor_type="GroundingDinoImageProcessor",
        size={"shortest_edge": 120, "longest_edge": 200},
        resample=2,
        do_pad=True,
        format="coco_detection",
    )


def _tokenizer() -> BertTokenizer:
    """Letters for words, at the numbers of BERT's vocabulary, by which the detector knows full stops and the like."""
    vocab = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    characters = [chr(code) for code in range(ord("!"), 127) if chr(code) not in string.ascii_uppercase]
    continued = [f"##{character}" for character in string.ascii_lowercase + string.digits]
    vocab |= {piece: number for number, piece in enumerate([*characters, *continued], start=999)}
    return BertTokenizer(vocab=vocab)


def _make_tracker(folder: Path) -> None:
    size, width = 64, 128  # memories of width 64 are built into transformers, and must be narrower than the rest
    backbone = Sam2HieraDetConfig(
        image_size=[size, size],
        hidden_size=16,
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 24, 32, 48],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 2, 2],
        global_attention_blocks=[3],
        mlp_ratio=2.0,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[48, 32, 24, 16],
        backbone_feature_sizes=[[size // 4] * 2, [size // 8] * 2, [size // 16] * 2],
        fpn_hidden_size=width,
    )
    model = _random(
        Sam2VideoModel(
            Sam2VideoConfig(
                vision_config=vision,
                prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=width, image_size=size),
                mask_decoder_config=Sam2VideoMaskDecoderConfig(
                    hidden_size=width,
                    mlp_dim=32,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    attention_downsample_rate=4,
                    iou_head_hidden_dim=32,
                ),
                image_size=size,
                memory_attention_hidden_size=width,
                memory_attention_num_layers=1,
                memory_attention_feed_forward_hidden_size=32,
                memory_attention_rope_feat_sizes=[size // 16, size // 16],
                memory_encoder_hidden_size=width,
                memory_encoder_output_channels=64,
                mask_downsampler_embed_dim=width,
                memory_fuser_num_layers=1,
                memory_fuser_embed_dim=width,
                memory_fuser_intermediate_dim=32,
                enable_occlusion_spatial_embedding=False,
                enable_temporal_pos_encoding_for_object_pointers=False,
            )
        )
    )
    nn.init.constant_(model.mask_decoder.pred_obj_score_head.proj_out.bias, 20.0)  # every object is always in sight
    nn.init.constant_(model.mask_decoder.upscale_conv2.bias, -1.0)  # of every picture some part, not the whole
    # left to chance, all objects would soon look the same
    for weight in (model.memory_attention.layers[0].cross_attn_image.o_proj, model.object_pointer_proj.proj_out):
        weight.weight.data.mul_(10)
    _save(model, folder)


def _random(model: Any) -> Any:
    torch.manual_seed(SEED)
    model.load_state_dict(random_weights(model), strict=False)
    return model


def _save(model: Any, folder: Path) -> None:
    model.bfloat16().save_pretrained(folder)


def _write_processor(folder: Path, **settings: object) -> None:
    shared = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
    document = {**shared, "image_mean": MEAN, "image_std": STD, **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(document, indent=2) + "\n")


WAYS: dict[str, Callable[..., None]] = {"depth": ship_depth, "random": make}

if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    WAYS[what](*map(Path, paths))
