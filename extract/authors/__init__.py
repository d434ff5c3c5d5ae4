"""Maps that the LaRE² authors' scripts made, taken into a cache."""
