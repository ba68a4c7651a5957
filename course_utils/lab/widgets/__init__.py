"""The widgets: one module each, on one base."""
