"""What every question works with: a dataset, its caches and detectors, scores and their comparison."""
