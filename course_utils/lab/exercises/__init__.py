"""The exercises, one module per subject, and how an answer is checked (`checking`)."""

SUBJECTS = (
    "conventions",
    "latents",
    "vae",
    "vae_forward",
    "decoders",
    "patches",
    "blocks",
    "transformers",
    "clip",
    "classifier_guidance",
    "classifier_free_guidance",
    "pipeline",
)
"""The modules that hold exercises, in the order of the course."""
