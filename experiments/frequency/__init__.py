"""Question: is LaRE more than a measure of local detail?"""
