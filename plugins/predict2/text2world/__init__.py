"""A video out of a prompt alone: first a picture, then what becomes of it."""
