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
    "diffusion",
    "classifier_guidance",
    "classifier_free_guidance",
    "pipeline",
    "better_guidance",
    "few_steps",
)
"""The modules that hold exercises, in the order of the course."""
