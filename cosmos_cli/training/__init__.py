"""Post-training: one trainer for every family, which brings a task, its data and its recipes."""
