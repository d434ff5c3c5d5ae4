"""Question: what do the map and its two refinements add, and what does the view change?"""
