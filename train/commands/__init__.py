"""The commands of stage 2: with a trainer (fit, validate, test, predict), and without."""
