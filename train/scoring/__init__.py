"""From predictions to results: readings, metrics, calibration, pairs, the matrix."""
