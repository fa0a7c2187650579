"""A video that begins with a picture or the end of a clip."""
