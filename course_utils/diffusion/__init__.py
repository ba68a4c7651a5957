"""Between noise and data: paths, samplers and guidance, each written once on top of the other."""
