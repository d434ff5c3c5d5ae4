"""Another name of `python -m demo.toy.tiny_vae`, for commands from before it was moved."""

import runpy

if __name__ == "__main__":
    runpy.run_module("demo.toy.tiny_vae", run_name="__main__", alter_sys=True)
