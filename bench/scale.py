"""Another name of `python -m bench.measures.scale`, for commands from before it was moved."""

import runpy

if __name__ == "__main__":
    runpy.run_module("bench.measures.scale", run_name="__main__", alter_sys=True)
