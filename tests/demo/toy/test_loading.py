"""Processes that have the toy models."""

import os
import signal
import subprocess
import sys

import pytest

from workflow.code_hash import ROOT

ENDS_AT_ONCE = """
from cache_schema.program import exit_on_sigterm
from demo.toy.config import SourceConfig
from demo.toy.loading import ModelPool

exit_on_sigterm()
for _ in range(50):
    with ModelPool(SourceConfig(), [], 2):
        pass
"""


@pytest.mark.slow
def test_processes_that_have_just_been_forked_are_ended_too() -> None:
    """As after an error that comes at once. Their end was asked for before they could hear of it, and waited for."""
    with subprocess.Popen([sys.executable, "-c", ENDS_AT_ONCE], cwd=ROOT, start_new_session=True) as process:
        try:
            assert process.wait(300) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
