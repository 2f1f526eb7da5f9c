"""The interface in an OpenAPI document, as rows: each call, what it takes, what it returns.

https://spec.openapis.org/oas/v3.1.0. The document comes from a server that need not be a friend: whatever is
not of the right type is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
NOTHING = "nothing"
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
_DEEPEST = 4


def title(document: Object) -> str:
    """The interface's name, version and description, in one line."""
    info = _object(document.get("info"))
    name = " ".join(str(info[key]) for key in ("title", "version") if info.get(key)) or "without a title"
    about = info.get("description") or info.get("summary")
    return f"{name}: {_line(about)}" if isinstance(about, str) else name


def calls(document: Object) -> list[Object]:
    """The calls in the document's order: call, takes, returns, meaning, operation, answers."""
    return [
        _call(method, path, _object(document["paths"][path]), operation)
        for path in _object(document.get("paths"))
        for method, operation in _object(document["paths"][path]).items()
        if method in _METHODS and isinstance(operation, dict)
    ]


def _call(method: str, path: str, item: Object, operation: Object) -> Object:
    answers = _object(operation.get("responses"))
    good = next((answers[code] for code in answers if str(code).startswith("2")), None)
    meaning = operation.get("summary") or operation.get("description")
    return {
        "call": f"{method.upper()} {path}",
        "takes": ", ".join([*_parameters(item), *_parameters(operation), *_body(operation)]) or NOTHING,
        "returns": _content(good) or NOTHING,
        "meaning": _line(meaning) if isinstance(meaning, str) else "",
        "operation": str(operation.get("operationId") or ""),
        "answers": ",".join(map(str, answers)),
    }


def _parameters(owner: Object) -> Iterator[str]:
    found = owner.get("parameters")
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            optional = "" if one.get("required") else "?"
            yield f"{one['name']}{optional}: {_type(one.get('schema'))}"
        elif isinstance(one, dict) and "$ref" in one:
            yield _referred(one)


def _body(operation: Object) -> Iterator[str]:
    body = _object(operation.get("requestBody"))
    if text := _content(body):
        # An application names what a body of plain type means by the schema's title.
        schema = next(iter(_object(body.get("content")).values()), None)
        name = _object(_object(schema).get("schema")).get("title")
        is_plain = isinstance(name, str) and text != name
        yield f"{name}: {text}" if is_plain else text


def _content(holder: Any) -> str:
    """The type of a body; its media type where that is not JSON."""
    if "$ref" in _object(holder):
        return _referred(holder)
    for media_type, one in _object(_object(holder).get("content")).items():
        if str(media_type).partition(";")[0].endswith("json"):
            found = _type(_object(one).get("schema"))
            return "" if found == "null" else found
        return str(media_type)
    return ""


def _type(schema: Any, deep: int = 0) -> str:
    schema = _object(schema)
    if deep > _DEEPEST:
        return "…"
    if "$ref" in schema:
        return _referred(schema)
    if "const" in schema:
        return repr(schema["const"])
    if isinstance(schema.get("enum"), list):
        return "|".join(map(str, schema["enum"]))
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list):
            # null is said by the `?` of a parameter.
            kinds = [_type(one, deep + 1) for one in schema[key]]
            return "|".join(dict.fromkeys(one for one in kinds if one != "null")) or "null"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items'), deep + 1)}"
    if isinstance(kind, list):
        return "|".join(str(one) for one in kind if one != "null")
    return str(kind or "any")


def _referred(reference: Object) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _line(text: str) -> str:
    return " ".join(text.split())


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
