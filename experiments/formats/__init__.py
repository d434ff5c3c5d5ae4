"""Question: how much of a score comes from file format and size?"""
