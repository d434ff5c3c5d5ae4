"""Every claim about a GPU, measured on one in ten minutes: `make gpu-check`."""
