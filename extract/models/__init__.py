"""Diffusion models: their folders, their parts, and what one use of them costs."""
