"""Settings of object storage of all three kinds: a first request that cannot be made ends with a sentence."""

import os
from pathlib import Path

import pytest

from cache_schema import StorageError, place, read_plain
from cache_schema.__main__ import main
from tests.object_storage.swift import free_ports

CLOSED = "http://127.0.0.1:{port}"
PUBLIC = {"s3": "AWS_SKIP_SIGNATURE", "gs": "GOOGLE_SKIP_SIGNATURE", "az": "AZURE_SKIP_SIGNATURE"}
ENDPOINT = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}
HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of whoever runs the tests, and few repetitions."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("cache_schema.object_clients._clients", {})
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "0.3")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "me")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
@pytest.mark.parametrize("is_http_allowed", [True, False])
def test_a_service_that_is_not_there(scheme: str, is_http_allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC[scheme], "true")
    monkeypatch.setenv(ENDPOINT[scheme], CLOSED.format(port=free_ports(1)[0]))
    if is_http_allowed:
        monkeypatch.setenv(HTTP[scheme], "true")
    with pytest.raises(StorageError) as caught:
        read_plain(place(f"{scheme}://bucket/key"), 10)
    expected = "no answer at " if is_http_allowed else f"no request can be made. Plain HTTP needs {HTTP[scheme]}=true"
    assert str(caught.value).startswith(f"{scheme}://bucket/key: {expected}")
    assert str(caught.value).endswith(f"{ENDPOINT[scheme]}.")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_an_endpoint_that_is_none(
    scheme: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("nowhere", "ftp://host", "http://a b", "https://name:secret@host"):
        monkeypatch.setenv(ENDPOINT[scheme], text)
        assert main(["status", f"--data={scheme}://bucket/data", f"--cache={scheme}://bucket/cache"]) == 1
        error = capsys.readouterr().err
        assert error == (
            f"error: {ENDPOINT[scheme]} is no address of a service: expected https://host or http://host:port\n"
        )


@pytest.mark.parametrize(
    ("scheme", "settings", "reason"),
    [
        ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "{folder}/nothing.json"}, "Unable to open service account file"),
        ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "{folder}/broken.json"}, "Unable to decode service account file"),
        ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": "my-secret"}, "Unable to decode service account"),
        ("az", {"AZURE_STORAGE_ACCOUNT_NAME": ""}, "Account must be specified"),
        ("az", {"AZURE_STORAGE_ACCOUNT_KEY": "my-secret is none"}, "Invalid Access Key"),
    ],
)
def test_credentials_that_are_none(
    scheme: str, settings: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text('{"private_key": "my-secret"}')
    for name, value in settings.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path)) if value else monkeypatch.delenv(name)
    with pytest.raises(StorageError) as caught:
        read_plain(place(f"{scheme}://bucket/key"), 10)
    assert str(caught.value).startswith(f"{scheme}://bucket/key: the credentials cannot be used (")
    assert reason in str(caught.value)
    assert "my-secret" not in str(caught.value)
