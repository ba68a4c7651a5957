"""The models, training loops and widgets of the course *latent space and guidance*."""
