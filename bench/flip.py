"""Another name of `python -m bench.measures.flip`, for commands from before it was moved."""

import runpy

if __name__ == "__main__":
    runpy.run_module("bench.measures.flip", run_name="__main__", alter_sys=True)
