"""Metrics as text, as Prometheus reads them.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


@dataclass(frozen=True)
class Family:
    """The series of one name. `kind` is `counter` or `gauge`; a counter's name ends with `_total`. Of each
    sample the labels' values stand in the order of `labels`."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], float]


def counter(name: str, meaning: str, value: float) -> Family:
    """A counter without labels."""
    return Family(name, "counter", meaning, (), {(): value})


def gauge(name: str, meaning: str, value: float) -> Family:
    """A gauge without labels."""
    return Family(name, "gauge", meaning, (), {(): value})


def exposition(families: Iterable[Family]) -> bytes:
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.meaning}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for values, number in family.samples.items():
            pairs = (
                f'{name}="{value.translate(_ESCAPES)}"'
                for name, value in zip(family.labels, values, strict=True)
            )
            labels = f"{{{','.join(pairs)}}}" if values else ""
            lines.append(f"{family.name}{labels} {float(number)!r}")
    return "\n".join([*lines, ""]).encode()
