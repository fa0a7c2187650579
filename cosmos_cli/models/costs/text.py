"""What text encoders cost."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_cli.models.configs import T5EncoderConfig

TEXT_TOKENS = 512
"""Text positions that every network reads, however short the text is."""


@dataclass(frozen=True)
class T5Cost:
    """What the encoder half of a T5 model costs."""

    config: T5EncoderConfig

    @property
    def num_blocks(self) -> int:
        return self.config.num_layers

    @property
    def block_parameters(self) -> int:
        """Of one block."""
        return self._layer_weights() + 2 * self.config.d_model

    @property
    def parameters(self) -> int:
        config = self.config
        norms = (2 * config.num_layers + 1) * config.d_model
        positions = config.relative_attention_num_buckets * config.num_heads
        return config.vocab_size * config.d_model + positions + norms + config.num_layers * self._layer_weights()

    def flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        """One text, which is always filled up to all its positions."""
        attention = 4.0 * num_tokens**2 * self.config.num_heads * self.config.d_kv
        return self.config.num_layers * (2.0 * num_tokens * self._layer_weights() + attention)

    def live_elements(self, num_tokens: int = TEXT_TOKENS) -> float:
        """Numbers alive at the worst moment: attention scores and their softmax, or the hidden layer."""
        config = self.config
        scores, hidden = 3 * config.num_heads * num_tokens**2, 2 * num_tokens * config.d_ff
        return max(scores, hidden) + 4 * num_tokens * config.d_model

    def _layer_weights(self) -> int:
        config = self.config
        return 4 * config.d_model * config.num_heads * config.d_kv + 2 * config.d_model * config.d_ff
