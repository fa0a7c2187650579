"""A local page in the browser: choose inputs, set controls, run, watch and compare; without torch."""
