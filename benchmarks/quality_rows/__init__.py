"""What generated clips of rendered worlds are worth: one module for each kind of model, and the measures of all."""
