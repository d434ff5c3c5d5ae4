"""Side-by-side measurements, each with its command: `python -m bench`. docs/BENCHMARKS.md tells how to read them."""
