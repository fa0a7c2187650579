"""The room view as the wrist camera would see it."""
