"""Guided generation: simulated episodes of two cameras made realistic, with the robot and the phantom left as they are."""
