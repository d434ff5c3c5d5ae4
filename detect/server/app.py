"""The HTTP API and the page: what each path answers."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detect.picture import Picture
from detect.server.config import MAX_FILES, ServeConfig
from detect.server.heat import map_png
from detect.server.refusals import Refusal
from detect.server.service import Service
from detect.server.telemetry import CUT, Metrics, log_answers
from detect.server.upload import read_uploads
from detect.verdict import Answer

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

STATIC = Path(__file__).parent / "static"
DESCRIPTION = 'Verdicts on pictures: generated, real or unsure. Every refusal is JSON: {"error": "one sentence"}.'
"""What the page at /docs says first."""
DETECT_DOCS: dict[str, Any] = {
    "summary": "Verdicts on pictures",
    "tags": ["Verdicts"],
    "description": (
        f'Takes 1 to {MAX_FILES} pictures, answers {{"verdicts": [...]}} in their order. A file that is no picture is '
        "an entry with `error`. `maps=true` adds `map_png`, the error map as a PNG in base64."
    ),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["files"],
                        "properties": {
                            "files": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": MAX_FILES,
                                "items": {"type": "string", "format": "binary"},
                            }
                        },
                    }
                }
            },
        }
    },
    "responses": {
        200: {"description": "The verdicts, in order."},
        400: {"description": "The body is broken or cut short."},
        413: {"description": "Too many bytes or files."},
        415: {"description": "The body is not multipart/form-data."},
        422: {"description": "No file is usable: the same body as 200, or a sentence where there is no file."},
        500: {"description": "The models have failed."},
        503: {"description": "The queue is full, or the models are not there: Retry-After says when to try again."},
        504: {"description": "The time limit has passed."},
    },
}


def create_app(service: Service, metrics: Metrics) -> "ASGIApp":
    """The application of one service.

    Raises:
        ImportError: If FastAPI or what its pages need is not installed.
    """
    from detect.server.guard import Guard
    from detect.server.telemetry import Recorded

    app = _bare_app()
    _add_refusals(app)
    _add_api(app, service, metrics)
    _add_pages(app)
    return Recorded(Guard(app, service.config), metrics)


def _bare_app() -> "FastAPI":
    from fastapi import FastAPI

    # FastAPI's own pages load their scripts from another host, and fastapi_offline's have a script inside the HTML.
    return FastAPI(title="LaRE² Cache", description=DESCRIPTION, docs_url=None, redoc_url=None, version="1")


def _add_refusals(app: "FastAPI") -> None:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def tell(request: "Request", error: Exception) -> "Response":
        if isinstance(error, Refusal):
            return error.response()
        if isinstance(error, HTTPException):
            sentences = {404: "There is nothing at this address.", 405: "This address does not take this method."}
            answer = Refusal(error.status_code, sentences.get(error.status_code, str(error.detail))).response()
            answer.headers.update(error.headers or {})
            return answer
        if isinstance(error, RequestValidationError):
            return Refusal(400, "A query parameter has a wrong value: maps is true or false.").response()
        return Refusal(500, "Something went wrong in the service: its log says what.").response()

    for kind in (Refusal, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, tell)


def _add_api(app: "FastAPI", service: Service, metrics: Metrics) -> None:
    from fastapi import Request
    from starlette.responses import JSONResponse, Response

    config = service.config

    @app.post("/v1/detect", **DETECT_DOCS)
    async def detect(request: Request, maps: bool = False) -> Response:
        answers = await _answer(request, service)
        metrics.count_answers(answers)
        if config.log_pictures:
            log_answers(answers)
        is_usable = any(answer.verdict is not None for answer in answers)
        verdicts = await asyncio.to_thread(_plain, answers, maps)
        return JSONResponse({"verdicts": verdicts}, 200 if is_usable else 422)

    @app.get("/v1/detector", summary="Facts about the detector, and the limits of a request", tags=["Verdicts"])
    async def detector() -> Response:
        return JSONResponse(service.check_open().describe() | {"limits": _limits(config)})

    @app.get("/healthz", summary="Whether verdicts are given: 200, or 503", tags=["Operation"])
    async def health() -> Response:
        try:
            service.check_open()
        except Refusal as refusal:
            return Refusal(503, refusal.sentence).response()
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", summary="Counters in Prometheus' text format", tags=["Operation"])
    async def numbers() -> Response:
        text, media_type = metrics.text()
        return Response(text, media_type=media_type)


def _limits(config: ServeConfig) -> dict[str, float]:
    return {
        "max_files": MAX_FILES,
        "max_file_bytes": config.max_file_bytes,
        "max_request_bytes": config.max_request_bytes,
        "time_limit": config.time_limit,
    }


async def _answer(request: "Request", service: Service) -> list[Answer]:
    """Read a request's pictures and have them judged, within the time limit.

    Raises:
        Refusal: As `read_uploads` and `Service.answer`; 504 where the time limit passes.
    """
    from starlette.requests import ClientDisconnect

    config = service.config
    try:
        async with asyncio.timeout(config.time_limit):
            with service.request() as detector, service.budget.share() as share:
                uploads = await read_uploads(request.headers, request.stream(), config, share)
                pictures = [Picture.of(upload.data, upload.name) for upload in uploads]
                return await _unless_cut(request, service.answer(detector, pictures))
    except TimeoutError as error:
        raise Refusal(504, f"The time limit of {config.time_limit:g} seconds has passed.") from error
    except ClientDisconnect as error:
        raise Refusal(CUT, "The connection was cut.") from error


async def _unless_cut(request: "Request", work: Coroutine[Any, Any, list[Answer]]) -> list[Answer]:
    """Do some work of a request whose body has been read, and give it up if the client goes.

    Raises:
        ClientDisconnect: If the client has gone.
    """
    from starlette.requests import ClientDisconnect

    async def wait_for_cut() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answering, cut = asyncio.ensure_future(work), asyncio.ensure_future(wait_for_cut())
    try:
        await asyncio.wait((answering, cut), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        cut.cancel()
        await asyncio.gather(answering, cut, return_exceptions=True)


def _plain(answers: list[Answer], maps: bool) -> list[dict[str, Any]]:
    verdicts = []
    for answer in answers:
        plain = answer.to_dict()
        if maps and answer.verdict is not None:
            plain["map_png"] = map_png(answer.verdict.lare)
        verdicts.append(plain)
    return verdicts


def _add_pages(app: "FastAPI") -> None:
    from starlette.responses import FileResponse
    from starlette.staticfiles import StaticFiles

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_offline", "static")]))
