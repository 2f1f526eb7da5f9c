"""The body of a request, read within limits of size and time, and parsed as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from webhook.errors import BadRequestError
from webhook.reasons import AdmissionReason

# The API server's own limit for a request body.
# https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
LIMIT = 3 * 1024 * 1024  # bytes
_JSON = "application/json"


async def read_body(request: Request, seconds: float, limit: int = LIMIT) -> bytes:
    """The body of a JSON request; no more than `limit` bytes of it are ever held.

    Args:
        request: the request, of which nothing has been read.
        seconds: how long the body may take to arrive.
        limit: the largest body, in bytes.

    Raises:
        BadRequestError: the body has another content type than JSON (415), is too large (413), too slow
        (408), empty or cut off (400).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON or request.headers.get("content-encoding", "identity") != "identity":
        message = f"the body is {media_type[:80] or 'of no stated type'}: expected {_JSON}, not compressed"
        raise BadRequestError(415, AdmissionReason.UNSUPPORTED_MEDIA_TYPE, message)
    try:
        async with asyncio.timeout(seconds):
            body = await _read(request, limit)
    except TimeoutError as error:
        message = f"the body took longer than {seconds:g} seconds"
        raise BadRequestError(408, AdmissionReason.BODY_TOO_SLOW, message) from error
    except ClientDisconnect as error:
        raise BadRequestError(
            400, AdmissionReason.BODY_TRUNCATED, "the connection ended within the body"
        ) from error
    if not body:
        raise BadRequestError(
            400, AdmissionReason.INVALID_JSON, "the body is empty: expected an AdmissionReview"
        )
    return body


def parse(body: bytes) -> object:
    """The JSON value in `body`.

    Raises:
        BadRequestError: it is not JSON in UTF-8 (RFC 8259), or is nested more deeply than can be read.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        message = "the JSON is nested too deeply: no Pod is"
        raise BadRequestError(400, AdmissionReason.TOO_DEEPLY_NESTED, message) from error
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        message = f"the body is not JSON: {error}"
        raise BadRequestError(400, AdmissionReason.INVALID_JSON, message) from error


async def _read(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> BadRequestError:
    return BadRequestError(413, AdmissionReason.BODY_TOO_LARGE, f"the body is larger than {limit} bytes")


def _refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity, which are not JSON.
    raise ValueError(f"{name} is not a JSON value")
