"""The exercises, one module per subject, and how an answer is checked (`checking`)."""
