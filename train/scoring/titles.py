"""Titles of readings for tables and charts, in the order in which they are shown."""

TITLES = {
    "gradient_energy": "gradient energy",
    "mean_lare": "mean LaRE",
    "map_only": "detector, map only",
    "image_only": "detector, image only",
    "full": "detector, image + map",
    "full_maps_permuted": "detector, image + permuted maps",
}
"""Reading → title."""
