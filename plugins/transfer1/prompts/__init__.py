"""Prompts for the two views of an episode: their file, and the chat model that writes it."""
