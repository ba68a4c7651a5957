"""The networks: autoencoder, discriminator, tokenizer, transformers, CLIP, denoiser, judge."""
