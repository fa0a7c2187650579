"""What networks cost before they are built: arithmetic, parameters and working memory, from their configurations.

Everything here is plain Python, because a plan must not wait for torch. Counted is what runs in matrix products,
attention and convolutions, a multiplication and its addition as two operations; what is done element by element takes
time, but no FLOPs to speak of.
"""
