"""A real S3 server on this machine: OpenStack Swift with its S3 interface, in one folder, on free ports of loopback."""

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("SWIFT") or ROOT / ".venv-swift") / "bin"
"""Of the environment that `make test-s3` makes."""
ACCESS_KEY, SECRET = "test:AK12345678", "SK1234567890abcd"
START_SEC = 60.0
STORES = ("account", "container", "object")

STORE_CONFIGURATION = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}/etc
devices = {folder}/srv
mount_check = false
log_address = /dev/null
recon_cache_path = {folder}/recon
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

PROXY_CONFIGURATION = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}/etc
log_address = /dev/null
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo symlink versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{unused}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_AK12345678 = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
[filter:symlink]
use = egg:swift#symlink
"""

SWIFT_CONFIGURATION = """\
[swift-hash]
swift_hash_path_suffix = lare
swift_hash_path_prefix = lare
[storage-policy:0]
name = one
default = yes
"""


class Swift:
    """The running server, as a context.

    Args:
        folder: For its files, on a file system with extended attributes.

    Attributes:
        endpoint: Its address, for AWS_ENDPOINT_URL.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip((*STORES, "proxy", "unused"), free_ports(5), strict=True))
        self.endpoint = f"http://127.0.0.1:{self._ports['proxy']}"
        self._stack = ExitStack()
        self._servers: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to speak to the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        if not PROGRAMS.is_dir():
            raise RuntimeError(f"{PROGRAMS} is not there: run `make test-s3`, which installs Swift")
        try:
            self._write_configuration()
            for name in (*STORES, "proxy"):
                self._start(name)
            for name in (*STORES, "proxy"):
                self._wait(self._ports[name])
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _write_configuration(self) -> None:
        etc = self.folder / "etc"
        for path in (etc, self.folder / "srv" / "d1", self.folder / "recon"):
            path.mkdir(parents=True)
        values = {"folder": self.folder, "user": os.environ.get("USER") or "root", "secret": SECRET}
        (etc / "swift.conf").write_text(SWIFT_CONFIGURATION)
        for name in STORES:
            text = STORE_CONFIGURATION.format(name=name, port=self._ports[name], **values)
            (etc / f"{name}.conf").write_text(text)
            builder = etc / f"{name}.builder"
            self._ring(builder, "create", "4", "1", "1")
            self._ring(builder, "add", f"r1z1-127.0.0.1:{self._ports[name]}/d1", "1")
            self._ring(builder, "rebalance")
        unused = self._ports["unused"]
        (etc / "proxy.conf").write_text(PROXY_CONFIGURATION.format(port=self._ports["proxy"], unused=unused, **values))

    def _ring(self, *arguments: str | Path) -> None:
        subprocess.run([PROGRAMS / "swift-ring-builder", *arguments], check=True, capture_output=True)

    def _start(self, name: str) -> None:
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        command = [PROGRAMS / f"swift-{name}-server", self.folder / "etc" / f"{name}.conf"]
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._stack.callback(_end, server)
        self._servers.append(server)

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + START_SEC
        while True:
            # Another server may have taken the port meanwhile, and would answer in its place.
            if any(server.poll() is not None for server in self._servers):
                raise RuntimeError(f"a server of Swift has ended:\n{self._logs()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"Swift has not started:\n{self._logs()}") from None
                time.sleep(0.1)

    def _logs(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
