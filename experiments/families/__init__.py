"""Toy models of four families as probes and as image sources: what is left on a generator of another architecture."""
