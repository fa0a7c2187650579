"""Whole pipelines at their published sizes on a GPU that is not there: devices, memory, copies."""
