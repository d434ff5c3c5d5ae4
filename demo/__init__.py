"""The embedded default: photo tiles, a toy latent diffusion model, and the run that shows both stages on them."""
