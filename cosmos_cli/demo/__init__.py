"""`cosmos demo`: every family at work on rendered worlds, and one page that shows what came of it."""
