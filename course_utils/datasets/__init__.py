"""The pictures and captions that the course learns from."""
