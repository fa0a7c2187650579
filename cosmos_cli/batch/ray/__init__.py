"""The engine of batches that works on the machines of a Ray cluster."""
