"""Pictures of predictions: charts, and the most certain cases."""
