"""Stage 1: packing images into tars, and their latent reconstruction errors into a cache."""
