"""Blessing names, and the SPIFFE IDs that are equivalent to them.

    >>> name = Name.parse("acme:prod:shop:web:web-7d9f-x2x4z")
    >>> name.spiffe_id
    'spiffe://acme/prod/shop/web/web-7d9f-x2x4z'

Grammar of SPIFFE IDs: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from blessings.errors import InvalidName

SEPARATOR = ":"
MAX_SPIFFE_ID_BYTES = 2048
_SCHEME = "spiffe://"
_COMPONENT = re.compile(r"[A-Za-z0-9._-]{1,253}")
# SPIFFE allows no path segment '.' or '..'; '...' is the pattern that matches everybody, so no name may be
# it.
_DOTS = (".", "..", "...")
_ROOT = re.compile(r"[a-z0-9._-]{1,253}")


@dataclass(frozen=True, order=True)
class Name:
    """A blessing name: its components from the root to the last extension.

    Raises InvalidName for no components, a component outside of `A-Za-z0-9._-` or longer than 253
    characters, a component that is `.`, `..` or `...`, a root with an upper-case letter, or a name whose
    SPIFFE ID would be longer than 2048 bytes.
    """

    components: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.components:
            raise InvalidName("a blessing name needs at least one component, got none")
        for component in self.components:
            if not _COMPONENT.fullmatch(component) or component in _DOTS:
                raise InvalidName(
                    f"blessing name component {component[:300]!r} is not 1 to 253 characters of A-Za-z0-9._- "
                    "other than '.', '..' and '...'"
                )
        if not _ROOT.fullmatch(self.components[0]):
            raise InvalidName(
                f"the root of a blessing name must be lower case, got {self.components[0]!r} "
                "(it is a SPIFFE trust domain too, and clients lower-case those)"
            )
        if len(self.spiffe_id) > MAX_SPIFFE_ID_BYTES:
            raise InvalidName(
                f"a blessing name's SPIFFE ID may have {MAX_SPIFFE_ID_BYTES} bytes, "
                f"this one has {len(self.spiffe_id)}"
            )

    @classmethod
    def parse(cls, text: str) -> Name:
        """The name that `text` encodes, with `:` between the components."""
        return cls(tuple(text.split(SEPARATOR)))

    @classmethod
    def from_spiffe_id(cls, uri: str) -> Name:
        """The name that a SPIFFE ID encodes; the inverse of `spiffe_id`.

        Raises InvalidName for another scheme, a port, a query, a fragment, or an empty path segment.
        """
        if not uri.startswith(_SCHEME):
            raise InvalidName(f"a SPIFFE ID starts with {_SCHEME}, got {uri[:300]!r}")
        return cls(tuple(uri.removeprefix(_SCHEME).split("/")))

    @property
    def spiffe_id(self) -> str:
        """`spiffe://<root>/<the other components>`."""
        return _SCHEME + "/".join(self.components)

    @property
    def root(self) -> Name:
        """The first component, as a name."""
        return Name(self.components[:1])

    @property
    def trust_domain(self) -> str:
        """The SPIFFE ID of the name's root alone: `spiffe://<root>`."""
        return _SCHEME + self.components[0]

    def extend(self, extension: str) -> Name:
        """This name followed by the components of `extension` (`web` or `web:web-1`)."""
        return Name((*self.components, *extension.split(SEPARATOR)))

    def is_extension_of(self, other: Name) -> bool:
        """Whether this name is `other` with at least one more component."""
        length = len(other.components)
        return len(self.components) > length and self.components[:length] == other.components

    def __str__(self) -> str:
        return SEPARATOR.join(self.components)
