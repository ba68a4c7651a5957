"""What a notebook shows: plots, widgets, progress, exercises."""
