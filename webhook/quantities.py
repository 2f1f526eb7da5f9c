"""Kubernetes quantities: `100m`, `64Mi`, `1e3`.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_GRAMMAR = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:(?P<suffix>[KMGTPE]i|[numkMGTPE]?)|[eE](?P<exponent>[+-]?[0-9]+))"
)
_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {
    letter: Fraction(10) ** power
    for letter, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
_FACTORS = {"": Fraction(1), **_DECIMAL, **{suffix: Fraction(factor) for suffix, factor in _BINARY.items()}}

# Kubernetes limits quantities to 2^63-1 and rounds to nano, so a larger exponent has no meaning. Without this
# limit, a pod author could make us compute numbers of any size.
_LARGEST_EXPONENT = 18
LONGEST = 64


@lru_cache(maxsize=1024)  # nearly all Pods state the same few, and each takes as long as a container
def parse(text: str) -> Fraction:
    """The exact value of a quantity, in cores for CPU and in bytes for memory.

    Raises:
        ValueError: `text` is not a quantity.
    """
    match = _GRAMMAR.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        raise ValueError("expected a Kubernetes quantity such as 100m, 0.5 or 64Mi")
    number = Fraction(match["number"].rstrip("."))
    if match["exponent"] is None:
        return number * _FACTORS[match["suffix"]]
    exponent = int(match["exponent"])
    if abs(exponent) > _LARGEST_EXPONENT:
        raise ValueError(f"expected a Kubernetes quantity with an exponent of at most {_LARGEST_EXPONENT}")
    return number * Fraction(10) ** exponent
