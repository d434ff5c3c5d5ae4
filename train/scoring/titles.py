"""Titles of readings for tables and charts, in the order in which they are shown."""

TITLES = {
    "gradient_energy": "gradient energy",
    "mean_lare": "mean LaRE",
    "map_only": "detector, map only",
    "image_only": "detector, image only",
    "full": "detector, image + map",
    "permuted_maps": "detector, image + permuted maps",
    "constant_map": "detector, image + one constant map",
}
"""Reading → title. The last two are controls, trained as "full" is with maps that say nothing of the image."""
