"""A picture or clip, and what happens next."""
