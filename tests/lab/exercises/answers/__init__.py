"""Right and wrong answers to every exercise, a module per subject, a table of each by the exercise's name."""
