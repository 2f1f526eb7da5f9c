"""The body of a request: what it may be, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn

import orjson

from webhook.errors import BadRequestError
from webhook.reasons import AdmissionReason

# The API server's own limit for a request body.
# https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
LIMIT = 3 * 1024 * 1024  # bytes
# A body above this takes its turn after smaller ones, and its values are counted before they are made.
LARGE = 64 * 1024  # bytes
# A Pod that etcd could store (1.5 MB) has fewer. Empty arrays alone, three megabytes of them, would be a
# million values and take a second.
MOST_VALUES = 200_000
_JSON = b"application/json"
_LENGTH = b"content-length"
_LONGEST_LENGTH = 20


def check_head(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises BadRequestError when the body's headers state another content type than JSON (415), or more than
    the limit (413). Their names are in lower case."""
    media_type, encoding, length = b"", b"identity", b""
    for name, value in headers:
        if name == b"content-type":
            media_type = value
        elif name == _LENGTH:
            length = value
        elif name == b"content-encoding":
            encoding = value
    if media_type != _JSON or encoding != b"identity":
        _check_type(media_type, encoding)
    if len(length) > _LONGEST_LENGTH or (length.isdigit() and int(length) > LIMIT):
        raise too_large()


def too_large() -> BadRequestError:
    return BadRequestError(413, AdmissionReason.BODY_TOO_LARGE, f"the body is larger than {LIMIT} bytes")


def too_slow(seconds: float) -> BadRequestError:
    message = f"the body took longer than {seconds:g} seconds"
    return BadRequestError(408, AdmissionReason.BODY_TOO_SLOW, message)


def truncated() -> BadRequestError:
    return BadRequestError(400, AdmissionReason.BODY_TRUNCATED, "the connection ended within the body")


def parse(body: bytes | bytearray) -> object:
    """The JSON value in `body`. Where an object has a key twice, the last one counts, as for the API server.

    Raises:
        BadRequestError: it is not JSON in UTF-8 (RFC 8259), is nested more deeply than can be read, or has
        more values than any Pod.
    """
    if not body:
        raise BadRequestError(
            400, AdmissionReason.INVALID_JSON, "the body is empty: expected an AdmissionReview"
        )
    if len(body) > LARGE and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise BadRequestError(
            400, AdmissionReason.TOO_MANY_VALUES, f"the JSON has more than {MOST_VALUES} values: no Pod has"
        )
    try:
        return orjson.loads(body)
    except ValueError:
        # It accepts less than the standard library, which takes three times as long: no half of a surrogate
        # pair, for one. And that one tells deeply nested JSON from what is none.
        return _parsed_slowly(body)


def _parsed_slowly(body: bytes | bytearray) -> object:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        message = "the JSON is nested too deeply: no Pod is"
        raise BadRequestError(400, AdmissionReason.TOO_DEEPLY_NESTED, message) from error
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        message = f"the body is not JSON: {error}"
        raise BadRequestError(400, AdmissionReason.INVALID_JSON, message) from error


def _check_type(stated: bytes, encoding: bytes) -> None:
    media_type = stated.partition(b";")[0].strip().lower()
    if media_type != _JSON or encoding != b"identity":
        shown = media_type.decode("latin-1")[:80] or "of no stated type"
        message = f"the body is {shown}: expected {_JSON.decode()}, not compressed"
        raise BadRequestError(415, AdmissionReason.UNSUPPORTED_MEDIA_TYPE, message)


def _refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity, which are not JSON.
    raise ValueError(f"{name} is not a JSON value")
