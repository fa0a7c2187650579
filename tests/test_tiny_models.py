"""The models that ship with the package, all of them together."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.configs import T5EncoderConfig
from cosmos_plugins.predict1_multiview import variants as predict1
from cosmos_plugins.predict2 import variants as predict2
from cosmos_plugins.transfer1 import variants as transfer1

MOST_PARAMETERS, MOST_BYTES = 20_000_000, 60_000_000


def num_parameters(path: Path) -> int:
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    if path.suffix == ".jit":
        return sum(parameter.numel() for parameter in torch.jit.load(path).parameters())
    content = torch.load(path, weights_only=True)
    if isinstance(content, tuple):
        return sum(tensor.numel() for tensor in content)
    return sum(tensor.numel() for tensor in content.get("model", content).values())


def test_all_tiny_models_together_are_small() -> None:
    files = [path for path in TINY_ROOT.rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix in (".pt", ".pth", ".jit", ".safetensors")]
    assert len(weights) > 20
    assert sum(map(num_parameters, weights)) < MOST_PARAMETERS
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


@pytest.mark.parametrize(
    "config",
    [
        *(group["tiny"].dit for group in (predict2.VARIANTS, predict2.TEXT2IMAGE, predict2.MULTIVIEW, predict2.ACTION)),
        *(group["tiny"].dit for group in (predict1.SINGLE_VIEW, predict1.MULTIVIEW)),
        *(transfer1.VARIANTS["tiny"].base(driving=driving) for driving in (False, True)),
        transfer1.VARIANTS["tiny"].base(driving=False, distilled=True),
    ],
    ids=lambda config: f"{type(config).__name__}-{config.model_channels}",
)
def test_all_read_the_one_text_encoder(config: predict2.MinimalDiTConfig) -> None:
    encoder = T5EncoderConfig.in_folder(TINY_ROOT / predict2.VARIANTS["tiny"].text_encoder)
    assert config.crossattn_emb_channels == encoder.d_model
