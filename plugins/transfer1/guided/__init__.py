"""Guided generation: episodes of a simulator made realistic, with the robot and the phantom left as they are."""
