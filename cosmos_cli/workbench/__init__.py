"""A local page in the browser: look at controls, set their weights, run, watch and compare; without torch."""
