"""Episodes of a simulator: files of two cameras, read and checked piece by piece, written, and rendered to try with."""
