"""How far verdicts of a detector can be trusted: false alarms, finds, other files of one picture, noise."""
