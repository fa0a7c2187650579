"""Every way in which a plugin can go wrong, on purpose."""
