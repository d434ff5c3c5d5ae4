"""Questions that need both stages, a command each: `python -m experiments`."""
