"""Access lists, which allow or refuse a peer by its valid names, and permissions files made of them.

    {"Admin": {"in": ["acme:ops"], "not_in": ["acme:ops:intern"]}, "Read": {"in": ["..."]}}

A permissions file has one access list for each tag. `Permissions.parse` reads it in JSON and refuses a tag
that appears twice. A YAML file holds the same values, but this package needs no YAML library: a program that
has one passes the output of its safe loader to `Permissions.from_value`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.errors import InvalidAccessList, InvalidCaveat, InvalidPattern
from blessings.names import Name
from blessings.patterns import Pattern

MAX_FILE_BYTES = 1024 * 1024
_IN, _NOT_IN = "in", "not_in"


@dataclass(frozen=True)
class AccessList:
    """Allows a peer when one of its valid names matches `allowed` and none of them matches `refused`.

    An empty list allows nobody. One refused name is enough to refuse the peer, whatever other names it
    presents.
    """

    allowed: tuple[Pattern, ...] = ()
    refused: tuple[Pattern, ...] = ()

    def allows(self, names: Iterable[Name]) -> bool:
        """Whether a peer with exactly these valid names is allowed. Leave out names that were not
        verified."""
        proven = tuple(names)
        return _any_matches(self.allowed, proven) and not _any_matches(self.refused, proven)

    @classmethod
    def from_value(cls, value: object, where: str = "access list") -> AccessList:
        """The access list of `{"in": [...], "not_in": [...]}`; each may be missing. Raises
        InvalidAccessList."""
        if not isinstance(value, Mapping):
            raise InvalidAccessList(f"{where} must be an object with in and not_in, got {value!r:.100}")
        if unknown := [key for key in value if key not in (_IN, _NOT_IN)]:
            raise InvalidAccessList(f"{where} may contain in and not_in only, got {unknown[0]!r:.100}")
        return cls(
            _patterns(value.get(_IN, []), f"{where}.in"), _patterns(value.get(_NOT_IN, []), f"{where}.not_in")
        )

    def to_value(self) -> JSON:
        return {_IN: [str(one) for one in self.allowed], _NOT_IN: [str(one) for one in self.refused]}


@dataclass(frozen=True)
class Permissions:
    """An access list for each tag, such as `Admin`. A tag without a list allows nobody."""

    lists: Mapping[str, AccessList]

    def allows(self, tag: str, names: Iterable[Name]) -> bool:
        access_list = self.lists.get(tag)
        return access_list is not None and access_list.allows(names)

    @classmethod
    def from_value(cls, value: object) -> Permissions:
        """The permissions in the values of a JSON or YAML file. Raises InvalidAccessList, which names the
        tag."""
        if not isinstance(value, Mapping):
            raise InvalidAccessList(f"permissions must be an object of tags, got {value!r:.100}")
        for tag in value:
            if not isinstance(tag, str) or not tag:
                raise InvalidAccessList(f"a tag must be a non-empty string, got {tag!r:.100}")
        lists = {tag: AccessList.from_value(one, str(tag)) for tag, one in value.items()}
        return cls(MappingProxyType(lists))

    @classmethod
    def parse(cls, text: str | bytes) -> Permissions:
        """The permissions of a JSON file of at most 1 MiB. Raises InvalidAccessList."""
        try:
            return cls.from_value(canonical.parse_any(text, MAX_FILE_BYTES))
        except InvalidCaveat as error:
            raise InvalidAccessList(f"the permissions cannot be read: {error}") from error

    def to_value(self) -> JSON:
        """The values to write to a JSON or YAML file; the inverse of `from_value`."""
        return {tag: one.to_value() for tag, one in self.lists.items()}


def _any_matches(patterns: Iterable[Pattern], names: tuple[Name, ...]) -> bool:
    return any(pattern.matches(name) for pattern in patterns for name in names)


def _patterns(value: object, where: str) -> tuple[Pattern, ...]:
    if not isinstance(value, list):
        raise InvalidAccessList(f"{where} must be a list of patterns, got {value!r:.100}")
    patterns = []
    for position, text in enumerate(value):
        if not isinstance(text, str):
            raise InvalidAccessList(f"{where}[{position}] must be a pattern, got {text!r:.100}")
        try:
            patterns.append(Pattern.parse(text))
        except InvalidPattern as error:
            raise InvalidAccessList(f"{where}[{position}]: {error}") from error
    return tuple(patterns)
