"""How the tiny annotators learn on rendered worlds."""
