"""Question: what does the view change?"""
