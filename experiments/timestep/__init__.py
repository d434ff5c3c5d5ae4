"""Question: which timestep separates generated from real images best?"""
