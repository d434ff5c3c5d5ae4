"""The commands of stage 2: those that a trainer runs, and those that need none."""
