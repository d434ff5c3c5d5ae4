"""64 clients and 1,000 requests, a third of them hostile: no wrong answer, none lost, and memory that stays."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bad_images import CASES
from tests.detect.server.fake import picture, same
from tests.detect.server.process import Process
from tests.detect.server.test_refusals import FORM, PART

NUM_CLIENTS, NUM_REQUESTS, NUM_PICTURES = 64, 1000, 40
MAX_GROWTH_BYTES = 100 * 2**20
"""Of the process, from the first answers to the last. A leak of the uploads would be twice as large."""
PADDING = bytes(200_000)
"""Behind a PNG: uploads of a usual size, though the picture is small."""


def resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found.group(1))


class Clients:
    """All clients, with what they count.

    Attributes:
        statuses: How often each kind of request got each status; the retries of 503 among them.
    """

    def __init__(self, address: str, alone: list[dict[str, Any]]) -> None:
        self.address, self.alone = address, alone
        self.statuses: Counter[tuple[str, int]] = Counter()

    async def run(self, numbers: range) -> None:
        waiting = iter(numbers)

        async def one_client() -> None:
            async with httpx.AsyncClient(base_url=self.address, timeout=60, trust_env=False) as client:
                for number in waiting:
                    await self.ask(client, random.Random(number))

        await asyncio.gather(*(one_client() for _ in range(NUM_CLIENTS)))

    async def ask(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        kinds: list[Callable[[httpx.AsyncClient, random.Random], Awaitable[None]]] = [
            *[self.good] * 6,
            *(self.bad_picture, self.foreign, self.cut_off),
        ]
        await rng.choice(kinds)(client, rng)

    async def post(self, kind: str, client: httpx.AsyncClient, **request: Any) -> httpx.Response:
        while True:
            answer = await client.post("/v1/detect", **request)
            self.statuses[kind, answer.status_code] += 1
            if answer.status_code != 503:
                return answer
            assert answer.json()["error"] and answer.headers["retry-after"] == "1"
            await asyncio.sleep(0.05)

    async def good(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        seeds = [rng.randrange(NUM_PICTURES) for _ in range(rng.randint(1, 4))]
        files = [("files", (f"{seed}.png", padded(seed))) for seed in seeds]
        answer = await self.post("good", client, files=files)
        assert answer.status_code == 200
        assert [same(one) for one in answer.json()["verdicts"]] == [self.alone[seed] for seed in seeds]

    async def bad_picture(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        case = rng.choice([case for case in CASES.values() if len(case.data()) < 1_000_000])
        seed = rng.randrange(NUM_PICTURES)
        files = [("files", ("../bad", case.data())), ("files", ("good", padded(seed)))]
        bad, good = (await self.post("bad picture", client, files=files)).json()["verdicts"]
        assert bad.get("status", "ok") == (case.status.name.lower() if case.status else "ok")
        assert same(good) == self.alone[seed]

    async def foreign(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        status, request = rng.choice(
            [
                (400, {"content": PART + picture(), "headers": FORM}),
                (400, {"files": {"files": picture()}, "headers": {"host": "evil.example"}}),
                (403, {"files": {"files": picture()}, "headers": {"origin": "https://evil.example"}}),
                (413, {"files": [("files", ("a", b"a"))] * 17}),
                (413, {"files": {"files": bytes(3_000_000)}}),
                (415, {"content": picture()}),
                (422, {"files": {"files": b""}}),
                (422, {"files": {"other": picture()}}),
            ]
        )
        assert (await self.post("foreign", client, **request)).status_code == status

    async def cut_off(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        url = httpx.URL(self.address)
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
        writer.write(head.encode() + b"Content-Length: 1000000\r\n\r\n" + PART + padded(rng.randrange(NUM_PICTURES)))
        await asyncio.sleep(0.01 * rng.random())
        writer.transport.abort()
        self.statuses["cut off", 0] += 1


def padded(seed: int) -> bytes:
    return picture(seed) + PADDING


@pytest.mark.slow
def test_many_clients_get_the_answers_that_each_would_get_alone(run: Callable[..., Process]) -> None:
    service = run(
        "queue_size=32", "max_file_bytes=2000000", "max_request_bytes=4000000", "max_bytes_in_flight=20000000"
    )
    client = service.client()
    one_by_one = [client.post("/v1/detect", files={"files": padded(seed)}) for seed in range(NUM_PICTURES)]
    clients = Clients(service.address, [same(answer.json()["verdicts"][0]) for answer in one_by_one])
    num_first = NUM_REQUESTS // 5
    asyncio.run(clients.run(range(num_first)))
    before = resident_bytes(service.process.pid)
    asyncio.run(clients.run(range(num_first, NUM_REQUESTS)))
    growth = resident_bytes(service.process.pid) - before
    final = {kind: count for kind, count in clients.statuses.items() if kind[1] != 503}
    assert sum(final.values()) == NUM_REQUESTS
    assert {status for kind, status in final if kind in ("good", "bad picture")} == {200}
    assert sum(count for (_, status), count in clients.statuses.items() if status == 503) > 0  # it was really full
    assert growth < MAX_GROWTH_BYTES
    numbers = client.get("/metrics").text
    assert "lare_queue_pictures 0.0" in numbers and 'status="500"' not in numbers
    assert client.get("/healthz").status_code == 200
    assert "Traceback" not in service.log
