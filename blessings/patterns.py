"""Blessing patterns, each of which matches a set of names.

`acme:web` matches `acme:web` and every extension of it, `acme:web:$` matches `acme:web` alone, `...`
matches every name. Components are compared whole: `acme:web` does not match `acme:website`.
"""

from __future__ import annotations

from dataclasses import dataclass

from blessings.errors import InvalidName, InvalidPattern
from blessings.names import SEPARATOR, Name

EVERYBODY = "..."
_END = "$"


@dataclass(frozen=True)
class Pattern:
    """A set of names. `name` is None for every name; `exact` excludes the name's extensions."""

    name: Name | None
    exact: bool = False

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """The pattern that `text` encodes. Raises InvalidPattern."""
        if text == EVERYBODY:
            return cls(None)
        name, exact = text, False
        if text.endswith(SEPARATOR + _END):
            name, exact = text.removesuffix(SEPARATOR + _END), True
        try:
            return cls(Name.parse(name), exact)
        except InvalidName as error:
            raise InvalidPattern(
                f"{text[:300]!r} is not a blessing pattern (a name, a name and ':$', or '...'): {error}"
            ) from error

    def matches(self, name: Name) -> bool:
        """Whether `name` belongs to this pattern's set."""
        if self.name is None:
            return True
        return name == self.name or (not self.exact and name.is_extension_of(self.name))

    def overlaps(self, other: Pattern) -> bool:
        """Whether some name matches both patterns."""
        if self.name is None or other.name is None:
            return True
        return self.matches(other.name) or other.matches(self.name)

    def __str__(self) -> str:
        if self.name is None:
            return EVERYBODY
        return f"{self.name}{SEPARATOR}{_END}" if self.exact else str(self.name)
