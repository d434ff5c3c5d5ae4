"""Names of what lies in the demo's folder and is read by several of its commands."""

DETECTOR = "detector"
"""The exported detector."""
PICTURES = "pictures"
"""Six pictures of the test split, as files."""
VERDICTS = "verdicts.json"
"""What the detector says of them."""
