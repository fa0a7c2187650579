"""What all cameras of a car see, made at once."""
