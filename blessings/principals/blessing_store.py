"""The blessings that a principal presents: a default, and others for peers that match a pattern."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from blessings.blessing import Blessing
from blessings.errors import InvalidCertificate, InvalidPattern, InvalidStore
from blessings.names import Name
from blessings.patterns import Pattern

VERSION = 1


@dataclass(frozen=True)
class BlessingStore:
    """An immutable value: each change returns a new store. `for_peers` contains each pattern once."""

    default: Blessing | None = None
    for_peers: tuple[tuple[Pattern, Blessing], ...] = ()

    def choose(self, peer: Iterable[Name] = ()) -> Blessing | None:
        """The blessing to present to a peer with these valid names, or None.

        It is the blessing of the narrowest pattern that matches one of the names, otherwise the default. A
        pattern is narrower than one with fewer components, and an exact one is narrower than its extensible
        form.
        """
        names = tuple(peer)
        matching = [
            (pattern, blessing)
            for pattern, blessing in self.for_peers
            if any(pattern.matches(name) for name in names)
        ]
        if not matching:
            return self.default
        return max(matching, key=lambda entry: _narrowness(entry[0]))[1]

    def with_default(self, blessing: Blessing | None) -> BlessingStore:
        return replace(self, default=blessing)

    def with_peer(self, pattern: Pattern, blessing: Blessing | None) -> BlessingStore:
        """This store with another blessing for peers that match `pattern`, or, with None, without one."""
        others = tuple(entry for entry in self.for_peers if entry[0] != pattern)
        return replace(self, for_peers=others if blessing is None else (*others, (pattern, blessing)))

    @property
    def blessings(self) -> tuple[Blessing, ...]:
        """All blessings, the default first."""
        default = () if self.default is None else (self.default,)
        return (*default, *(blessing for _, blessing in self.for_peers))

    def to_json(self) -> dict[str, object]:
        """`{"version": 1, "default": <PEM or null>, "forPeers": [{"pattern", "blessing"}]}`."""
        return {
            "version": VERSION,
            "default": None if self.default is None else self.default.to_pem(),
            "forPeers": [
                {"pattern": str(pattern), "blessing": blessing.to_pem()}
                for pattern, blessing in self.for_peers
            ],
        }

    @classmethod
    def from_json(cls, value: object) -> BlessingStore:
        """The inverse of `to_json`. Raises InvalidStore."""
        if not isinstance(value, Mapping) or value.get("version") != VERSION:
            raise InvalidStore(f"a blessing store must be an object of version {VERSION}, got {value!r:.100}")
        try:
            store = cls()
            if value["default"] is not None:
                store = store.with_default(Blessing.from_pem(value["default"]))
            for entry in value["forPeers"]:
                blessing = Blessing.from_pem(entry["blessing"])
                store = store.with_peer(Pattern.parse(entry["pattern"]), blessing)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidStore(
                "a blessing store must contain default and forPeers, a list of pattern and blessing"
            ) from error
        except (InvalidCertificate, InvalidPattern) as error:
            raise InvalidStore(f"the blessing store cannot be read: {error}") from error
        return store


def _narrowness(pattern: Pattern) -> tuple[int, bool]:
    return (0 if pattern.name is None else len(pattern.name.components), pattern.exact)
