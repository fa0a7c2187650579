"""A video out of a prompt."""
