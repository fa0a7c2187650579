"""Most that an operation takes whatever its inputs; without torch, so that plans can count on it."""

WIDE_SCORES_BYTES = 64 << 20
"""Scores and softmax of attention with heads too wide for fused kernels, see `attention.wide_attention`."""
