"""A command beside a new S3 server with an empty bucket: `python -m tests.object_storage.beside BUCKET command …`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.object_storage.bucket import Bucket
from tests.object_storage.swift import Swift


def main(name: str, *command: str) -> int:
    """The command's exit status; the server and its files are gone after it."""
    with tempfile.TemporaryDirectory(prefix="lare-swift-") as folder, Swift(Path(folder)) as swift:
        Bucket(swift, name).create()
        return subprocess.run(command, env=os.environ | swift.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
