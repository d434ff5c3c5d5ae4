"""Images to tars with an index."""
