"""The Plushies' second edition, at 128 pixels. The models that ship know the first, in `datasets.drawing`."""
