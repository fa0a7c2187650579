"""What several cameras of a car see in the next seconds."""
