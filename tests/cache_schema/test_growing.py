"""What the process that makes a copy loads. That it copies is tested against a real server (`tests/object_storage`)."""

import json
import subprocess
import sys
from pathlib import Path

from cache_schema import growing

LARGE = {"zarr", "numcodecs", "numpy", "pyarrow", "torch", "pandas"}


def test_the_process_that_copies_loads_this_checkout_and_no_large_library(tmp_path: Path) -> None:
    asked = growing.COPYING.replace("sys.exit(main())", "import json; print(json.dumps([*sys.modules])); print(main)")
    (tmp_path / "obstore.py").write_text("raise SystemExit('taken from the current folder')")
    package = Path(growing.__file__).parent
    done = subprocess.run(
        [sys.executable, "-P", "-c", asked, package], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[0]))
    assert "cache_schema.copying" in loaded and not loaded & LARGE
    assert len([name for name in loaded if name.startswith("cache_schema.")]) < 40
