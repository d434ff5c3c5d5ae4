"""A detector from photographs alone: a diffusion model, its errors on photographs, and no training."""
