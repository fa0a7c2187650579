"""A picture out of a prompt."""
