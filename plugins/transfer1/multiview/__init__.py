"""One driving video turned into those of all cameras of the car, under road maps or laser points of every camera."""
