"""A wrong setting is named in one way by all programs."""

from __future__ import annotations

from typing import Any

import pytest

from service.settings import explained, unknown, whole, wrong

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


FIELDS = ("port", "health_port", "name_prefix", "jwks_location")


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("VANADIUM_PROGRAM_NAME_PREFX", "did you mean VANADIUM_PROGRAM_NAME_PREFIX?"),
        ("VANADIUM_PROGRAM_HEALTHPORT", "did you mean VANADIUM_PROGRAM_HEALTH_PORT?"),
        ("VANADIUM_PROGRAM_JWKS_URL", "did you mean VANADIUM_PROGRAM_JWKS_LOCATION?"),
        ("vanadium_program_prot", "did you mean VANADIUM_PROGRAM_PORT?"),
        ("VANADIUM_PROGRAM_", "--help lists them"),
        ("VANADIUM_PROGRAM_" + "X" * 10_000, "--help lists them"),
    ],
)
def test_a_variable_that_names_no_setting_is_refused_with_the_nearest(variable: str, said: str) -> None:
    message = unknown(PREFIX, FIELDS, {variable: "secret", "PATH": "/bin", "VANADIUM_PROGRAM_PORT": "1"})
    assert message.startswith(variable[:100])
    assert message.endswith(said)
    assert "secret" not in message
    assert len(message) < 250
    assert ";" not in message.removesuffix(f"; {said}")


def test_variables_that_kubernetes_sets_for_services_are_not_ours() -> None:
    """For Services with names like vanadium-program and vanadium-program-metrics in the Pod's namespace."""
    address = "tcp://10.96.0.7:8193"
    of_a_service = {
        "SERVICE_HOST": "10.96.0.7",
        "SERVICE_PORT": "8193",
        "SERVICE_PORT_HTTPS": "8193",
        "PORT_8193_TCP": address,
        "PORT_8193_TCP_PROTO": "tcp",
        "PORT_8193_TCP_PORT": "8193",
        "PORT_8193_TCP_ADDR": "10.96.0.7",
    }
    variables = {f"{PREFIX}{name}": value for name, value in of_a_service.items()}
    variables |= {f"{PREFIX}METRICS_{name}": value for name, value in of_a_service.items()}
    variables |= {f"{PREFIX}METRICS_PORT": address, f"{PREFIX}PORT": address}
    assert unknown(PREFIX, FIELDS, variables) == ""
    assert "METRICS_PORT" in unknown(PREFIX, FIELDS, {f"{PREFIX}METRICS_PORT": "8193"})


@pytest.mark.parametrize("text", ["9" * 5000, "", "-1", "+1", "1.0", "1e2", " 1", "²", "٣", "inf", "101"])
def test_a_text_that_is_no_whole_number_in_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number from 0 to 100"):
        whole(text, 0, 100)
    assert whole("100", 0, 100) == 100
