"""What the process that makes a copy loads. That it copies is tested against a real server (`tests/object_storage`)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cache_schema import ObjectPath, growing
from cache_schema.copies import Original

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


def test_the_process_ends_with_a_sentence_while_its_reader_lives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LARE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "0.1")
    maker = growing._start(Original(ObjectPath("s3", "bucket", "key"), '"1"', 5))
    try:
        assert maker.wait() == 1
        assert maker.stderr is not None and b"bucket" in maker.stderr.read()
    finally:
        growing._release(maker)
