"""How good is a picture, and how well does it follow its caption? The judge, and the usual metrics."""
