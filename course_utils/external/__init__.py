"""Other people's code and weights, wherever they can be had: each with an honest answer where they cannot."""
