"""Models for machines without internet: what extraction and training name is fetched into the local hub cache."""
