"""Question: what does a cheaper stage 1 lose?"""
