"""A wrong setting is named in one way by all programs."""

from __future__ import annotations

from typing import Any

from service.settings import explained, wrong

PREFIX = "VANADIUM_PROGRAM_"


def test_the_sentence_names_flag_variable_and_value() -> None:
    assert (
        wrong(PREFIX, "health_port", "expected a port", "x")
        == "--health-port (VANADIUM_PROGRAM_HEALTH_PORT): expected a port (got 'x')"
    )
    assert len(wrong(PREFIX, "a", "expected a port", "x" * 10_000)) < 200


def test_pydantics_errors_are_such_sentences_without_what_is_secret() -> None:
    errors: list[dict[str, Any]] = [
        {"loc": ("port",), "msg": "Value error, expected a port", "type": "value_error", "input": 0},
        {"loc": ("image",), "msg": "Field required", "type": "missing", "input": {"all": "of them"}},
        {"loc": ("database_url",), "msg": "no URL", "type": "value_error", "input": "password"},
        {"loc": (), "msg": "Value error, expected both or neither", "type": "value_error", "input": {}},
    ]
    assert explained(PREFIX, errors, secret=("database_url",)).split("; ") == [
        "--port (VANADIUM_PROGRAM_PORT): expected a port (got '0')",
        "--image (VANADIUM_PROGRAM_IMAGE): Field required",
        "--database-url (VANADIUM_PROGRAM_DATABASE_URL): no URL",
        "expected both or neither",
    ]
