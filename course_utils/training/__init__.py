"""One training loop, one readable recipe per model, and the checkpoints that they make."""
