"""Checkpoints in the forms of the originals, of the NeMo Framework and of diffusers, and from each to the others."""
