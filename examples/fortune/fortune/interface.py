"""The interface as an OpenAPI document, which the server shows to everyone at /openapi.json."""

from __future__ import annotations

from typing import Any

PATH = "/openapi.json"
LONGEST_FORTUNE_BYTES = 4096

_FORTUNE = {"type": "string", "title": "fortune"}
_REFUSAL = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _method(
    name: str, summary: str, returns: dict[str, Any], takes: dict[str, Any] | None = None
) -> dict[str, Any]:
    answers = {"200": "done", "400": "the body is no JSON", "403": "the caller's name is not allowed here"}
    if takes is not None:
        answers["413"] = f"the body has more than {LONGEST_FORTUNE_BYTES} bytes"
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            code: {"description": meaning, "content": _content(returns if code == "200" else _REFUSAL)}
            for code, meaning in answers.items()
        },
    }
    if takes is not None:
        operation["requestBody"] = {"required": True, "content": _content(takes)}
    return {"post": operation}


INTERFACE: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Fortune",
        "version": "1",
        "description": "The interface to a fortune-telling service. JSON over mutual TLS; a caller's name "
        "decides whether it is answered.",
    },
    "paths": {
        "/Add": _method("Add", "Adds a fortune to the set used by Get", {"type": "null"}, _FORTUNE),
        "/Get": _method("Get", "Returns a random fortune", _FORTUNE),
        "/Has": _method("Has", "Returns whether or not a fortune exists", {"type": "boolean"}, _FORTUNE),
    },
}
