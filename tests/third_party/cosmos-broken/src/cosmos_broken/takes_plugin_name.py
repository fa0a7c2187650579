"""Sound in itself, but its entry point has the name of another plugin."""
