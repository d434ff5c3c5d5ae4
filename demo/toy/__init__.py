"""Toy diffusion models, the photographs that they learn from, and the image sources made with them."""
