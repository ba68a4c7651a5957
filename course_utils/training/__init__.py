"""One training loop, one readable recipe a model, and the checkpoints that they make."""
