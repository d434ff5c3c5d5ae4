"""How readings are called where people read, in the order in which they are shown."""

TITLES = {
    "gradient_energy": "gradient energy",
    "mean_lare": "mean LaRE",
    "map_only": "detector, map only",
    "image_only": "detector, image only",
    "full": "detector, image + map",
    "full_maps_permuted": "the same, maps of other images",
}
"""Reading → title."""
