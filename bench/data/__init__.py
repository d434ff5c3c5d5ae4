"""What is measured on: pictures, metadata of millions of samples, models of Stable Diffusion 1.5's shapes."""
