"""Question: what do the map and its two refinements add?"""
