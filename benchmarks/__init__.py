"""This project beside its peers, as ratios measured in one run: `python -m benchmarks`."""
