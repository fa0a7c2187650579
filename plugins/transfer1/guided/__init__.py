"""Guided generation: simulated episodes of two cameras made realistic, robot and phantom left as they are."""
