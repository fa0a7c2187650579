"""Worlds that are rendered: short clips of solids that move, with all that is known of them, from a seed."""
