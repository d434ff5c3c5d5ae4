"""Every setting of the web service, each with a sentence and a check."""

from dataclasses import dataclass
from ipaddress import ip_address

from cache_schema import check_least
from detect.config import DetectorConfig

MAX_FILES = 16
"""Most files of one request."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class ServeConfig(DetectorConfig):
    """A web page and an HTTP API that give verdicts on pictures. Ctrl-C ends it once the work in hand is answered.

    Raises:
        ValueError: If a setting is outside its range.
    """

    host: str = "127.0.0.1"
    """Address to listen on. Others than this machine's own are reached by every machine of the network."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    allowed_hosts: list[str] | None = None
    """Names that a request may be addressed to (its Host header), without port; by default localhost, 127.0.0.1, [::1]
    and `host`. Any other name is refused, so that no foreign web site can reach this service through a browser."""
    queue_size: int = 64
    """Pictures that may be in hand at once, of all requests; above it requests are answered with 503."""
    time_limit: float = 60.0
    """Seconds from the start of a request to its answer; above it the answer is 504."""
    max_file_bytes: int = 52_428_800
    """Bytes of the largest picture."""
    max_request_bytes: int = 209_715_200
    """Bytes of the largest request, which may hold 16 pictures."""
    max_bytes_in_flight: int = 1_073_741_824
    """Bytes of all requests at once; uploads are held in memory, never on disk. Above it the answer is 503."""
    log_pictures: bool = True
    """Log the hash, the sides and the verdict of each picture. Nothing else of a picture is ever logged or stored."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_least("max_file_bytes", self.max_file_bytes, 1)
        check_least("queue_size", self.queue_size, MAX_FILES)  # a full request must fit
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}: expected 0 … 65535")
        if not 0 < self.time_limit < float("inf"):
            raise ValueError(f"time_limit is {self.time_limit}: expected more than 0 seconds")
        check_least("max_request_bytes", self.max_request_bytes, self.max_file_bytes)
        check_least("max_bytes_in_flight", self.max_bytes_in_flight, self.max_request_bytes)
        if not self.host:
            raise ValueError("host is empty: expected an address, 127.0.0.1 for this machine alone")

    @property
    def address(self) -> str:
        """`host` without the brackets of an IPv6 address."""
        return _bare(self.host)

    @property
    def host_names(self) -> frozenset[str]:
        """Names that a request may be addressed to, in lower case, IPv6 addresses without brackets."""
        names = (*LOCAL_NAMES, self.host) if self.allowed_hosts is None else self.allowed_hosts
        return frozenset(_bare(name).lower() for name in names)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the service."""
        try:
            return ip_address(self.address).is_loopback
        except ValueError:
            return self.address == "localhost"


def _bare(name: str) -> str:
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name
