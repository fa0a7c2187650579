"""What works one after the other in a run, and may leave the device meanwhile, as sentences and plans name it."""

from __future__ import annotations

TEXT, TOKENIZER, DIT = "text encoder", "tokenizer", "diffusion transformer"
REFINER, GUARDRAILS = "prompt refiner", "guardrails"
