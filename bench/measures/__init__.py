"""The measures, a module each; `bench/registry.py` lists them."""
