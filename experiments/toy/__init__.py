"""The toy benchmark: does LaRE see more than smoothness and the trace of a decoder?"""
