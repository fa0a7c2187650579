"""Do our networks, samplers and pipelines give the originals' numbers? `python -m tests.parity FILE...`

A golden file holds inputs, weights and outputs of the original code; an adapter runs ours on the same inputs and
weights. A manifest lists key and shape of a published network; ours must have exactly these.
"""
