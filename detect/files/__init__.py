"""Verdicts on files: which pictures are meant, what is written of them, and what a terminal shows."""
