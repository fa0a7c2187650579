"""Needs a library that nobody has, and says so in several lines, as compiled extensions do."""

raise ImportError("liblidar.so.7 cannot be opened\n\nInstall the driver first.")
