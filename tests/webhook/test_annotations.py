"""What may be written into the annotations, and what is said of the rest."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook import quantities
from webhook.annotations import read_wishes
from webhook.errors import RefusalError
from webhook.reasons import AdmissionReason
from webhook.resources import ResourceError, Resources

MiB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("100m", Fraction(1, 10)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1.", 1),
        ("+1", 1),
        ("-1", -1),
        ("64Mi", 64 * MiB),
        ("1.5Gi", 1536 * MiB),
        ("64M", 64_000_000),
        ("1k", 1000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("5e-1", Fraction(1, 2)),
        ("100u", Fraction(1, 10_000)),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, value: Fraction) -> None:
    assert quantities.parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 ",
        "Mi",
        "1mi",
        "1MI",
        "1K",
        "1KB",
        "64 Mi",
        "1e",
        "1.2.3",
        "\u0661",
        "0x1",
        "1_000",
        "1e99",
        "9" * 65,
        "--1",
    ],
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a Kubernetes quantity"):
        quantities.parse(text)


@given(st.text(max_size=70))
def test_no_text_makes_reading_a_quantity_fail_otherwise(text: str) -> None:
    try:
        quantities.parse(text)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("log-level", "verbose", "expected one of debug, info, warning, error"),
        ("ttl", "soon", "expected seconds, or a duration such as 30m or 1h30m"),
        ("ttl", "1d", "expected seconds, or a duration"),
        ("ttl", "-5m", "expected seconds, or a duration"),
        ("ttl", "", "expected seconds, or a duration"),
        ("ttl", "9" * 5000, "expected seconds, or a duration"),
        ("ttl", "299", "expected 5 minutes (5m) to 24 hours (24h)"),
        ("ttl", "25h", "expected 5 minutes (5m) to 24 hours (24h)"),
        ("startup-wait", "true", "expected seconds, or a duration such as 3s"),
        ("startup-wait", "1.5s", "expected seconds, or a duration such as 3s"),
        ("startup-wait", "31s", "expected 0 to 30 seconds, after which the application starts anyway"),
        ("containers", "", "expected container names"),
        ("containers", "web,,proxy", "expected container names"),
        ("image", "", "expected an image reference"),
        ("image", "agent latest", "expected an image reference"),
        ("cpu-request", "lots", "expected a Kubernetes quantity"),
        ("cpu-limit", "0", "must be more than 0"),
        ("cpu-limit", "-1", "must be more than 0"),
        ("cpu-limit", "10u", "less than 1m"),
        ("memory-limit", "64m", "is 0.064 bytes; expected whole bytes, such as 64Mi"),
        ("memory-limit", "1Ki", "is less than 24Mi, with less the pod agent may be killed as it starts"),
        ("memory-limit", "24575Ki", "is less than 24Mi, with less the pod agent may be killed as it starts"),
        ("cpu-limit", "1m", "is less than 10m, the lowest limit that Linux can enforce"),
        ("memory-request", "64 Mi", "expected a Kubernetes quantity"),
    ],
)
def test_a_wrong_annotation_is_refused_with_its_name_value_and_what_was_expected(
    annotation: str, value: str, expected: str
) -> None:
    with pytest.raises(RefusalError) as caught:
        read_wishes({f"vanadium.io/{annotation}": value}, Resources())
    assert caught.value.reason is AdmissionReason.INVALID_ANNOTATION
    shown = repr(value) if len(value) <= 64 else repr(value[:61] + "...")
    assert str(caught.value).startswith(f"annotation vanadium.io/{annotation}: {shown}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("300", 300), ("1800", 1800), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("24h", 86400)],
)
def test_a_ttl_is_seconds_or_a_duration_as_go_writes_it(value: str, seconds: int) -> None:
    assert read_wishes({"vanadium.io/ttl": value}, Resources()).ttl_seconds == seconds


def test_without_annotations_the_settings_apply() -> None:
    wishes = read_wishes({"other.example/ttl": "x"}, Resources(cpu_limit="2"))
    assert (wishes.image, wishes.log_level, wishes.ttl_seconds, wishes.containers) == (None, None, None, None)
    assert wishes.resources == Resources(cpu_limit="2")
    assert wishes.warnings == ()


def test_a_request_above_its_limit_is_refused_when_both_were_written() -> None:
    annotations = {"vanadium.io/memory-request": "1Gi", "vanadium.io/memory-limit": "64Mi"}
    with pytest.raises(
        RefusalError, match=r"annotation vanadium\.io/memory-request: '1Gi': is more than .* 64Mi"
    ):
        read_wishes(annotations, Resources())


def test_the_one_of_request_and_limit_that_was_not_written_follows_the_other() -> None:
    defaults = Resources(cpu_request="10m", cpu_limit="100m", memory_request="64Mi", memory_limit="128Mi")
    assert defaults.changed({"memory_limit": "32Mi"}).memory_request == "32Mi"
    assert defaults.changed({"cpu_request": "0.2"}).cpu_limit == "0.2"


def test_resources_name_the_field_that_is_wrong() -> None:
    with pytest.raises(ResourceError) as caught:
        Resources().changed({"cpu_limit": "x"})
    assert caught.value.field == "cpu_limit"


def test_a_mistyped_annotation_is_a_warning_and_the_label_as_an_annotation_too() -> None:
    wishes = read_wishes({"vanadium.io/loglevel": "debug", "vanadium.io/inject": "disabled"}, Resources())
    assert wishes.warnings == (
        "vanadium.io/inject was written as an annotation and has no effect: make it a label",
        "annotation vanadium.io/loglevel is not one that the injection knows; did you mean "
        "vanadium.io/log-level?",
    )
    (warning,) = read_wishes({"vanadium.io/weather": "fine"}, Resources()).warnings
    assert warning == "annotation vanadium.io/weather is not one that the injection knows"


def test_names_are_looked_up_for_a_few_mistyped_annotations_only() -> None:
    """To compare names takes longer than all else of an admission."""
    mistyped = {f"vanadium.io/log-leve{letter}": "" for letter in "abcdefghi"}
    warnings = read_wishes(mistyped, Resources()).warnings
    assert len(warnings) == 8
    assert [warning.endswith("; did you mean vanadium.io/log-level?") for warning in warnings] == [
        True
    ] * 3 + [False] * 5


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("TTL", "ttl"),
        ("LOG-LEVEL", "log-level"),
        ("cpu-limits", "cpu-limit"),
        ("image-pull-secret", "image-pull-secrets"),
        ("injct", "inject"),
        ("x", None),
        ("t", None),
        ("weather", None),
        ("log-level" + "l" * 60, None),
    ],
)
def test_a_mistyped_name_is_compared_without_its_prefix_and_in_lower_case(
    mistyped: str, meant: str | None
) -> None:
    (warning,) = read_wishes({f"vanadium.io/{mistyped}": "x"}, Resources()).warnings
    assert warning.partition("; ")[2] == (f"did you mean vanadium.io/{meant}?" if meant else "")


def test_a_group_may_be_as_large_as_openshift_assigns_them() -> None:
    stated = {"vanadium.io/files": "web", "vanadium.io/files-group": "1000660000"}
    files = read_wishes(stated, Resources()).files
    assert files is not None
    assert files.group == 1_000_660_000
    with pytest.raises(
        RefusalError, match="files-group: '2147483648': expected the number of a group, up to 2147483647"
    ):
        read_wishes({**stated, "vanadium.io/files-group": "2147483648"}, Resources())


def test_a_contradiction_is_told_in_the_words_of_the_manifest() -> None:
    stated = {"vanadium.io/ephemeral-storage-request": "1Gi", "vanadium.io/ephemeral-storage-limit": "64Mi"}
    with pytest.raises(RefusalError, match="is more than the ephemeral-storage limit of 64Mi"):
        read_wishes(stated, Resources())


def test_secrets_to_pull_the_image_with_are_told_to_be_for_namespaces() -> None:
    (warning,) = read_wishes({"vanadium.io/image-pull-secrets": "registry"}, Resources()).warnings
    assert warning.startswith("annotation vanadium.io/image-pull-secrets has no effect on a Pod")
    assert warning.endswith("it is for namespaces only")
