"""Hypothesis strategies of this package's values, and the keys that tests share."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from blessings import (
    AccessList,
    Caveat,
    Custom,
    Expiry,
    KeyKind,
    Methods,
    Name,
    Pattern,
    PeerBlessings,
    Principal,
    ThirdParty,
    Unknown,
)
from blessings.encoding.canonical import JSON, MAX_INTEGER

# Making keys is slow; a few of each kind serve every example.
PRINCIPALS = [Principal.create(kind) for kind in (KeyKind.P256, KeyKind.ED25519) for _ in range(2)]
principals = st.sampled_from(PRINCIPALS)

component = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True).filter(
    lambda text: text not in (".", "..", "...")
)
root = st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True)
names = st.builds(lambda first, rest: Name((first, *rest)), root, st.lists(component, max_size=5))

# From few components, so that two names are often related.
small_names = st.builds(
    lambda rest: Name(("acme", *rest)), st.lists(st.sampled_from(["web", "websites", "db"]), max_size=3)
)
small_patterns = st.one_of(st.just(Pattern(None)), st.builds(Pattern, small_names, st.booleans()))
patterns = st.one_of(st.just(Pattern(None)), st.builds(Pattern, names, st.booleans()))

access_lists = st.builds(
    AccessList,
    st.lists(small_patterns, max_size=3).map(tuple),
    st.lists(small_patterns, max_size=3).map(tuple),
)

times = st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))

texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values: st.SearchStrategy[JSON] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-MAX_INTEGER, MAX_INTEGER), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8), inner, max_size=3),
    ),
    max_leaves=8,
)

kinds = st.sampled_from(["example.com/zone", "partner.example.org/level/2"])
customs = st.builds(Custom, kinds, json_values)
methods = st.builds(
    Methods, st.lists(st.sampled_from(["Get", "Add", "Has"]), min_size=1, max_size=3).map(tuple)
)
peers = st.builds(PeerBlessings, st.lists(small_patterns, min_size=1, max_size=3).map(tuple))
expiries = st.builds(Expiry, times)
unknowns = st.builds(
    lambda kind, more: Unknown({**more, "kind": kind}),
    st.sampled_from(["futureKind", "Expiry", "", "example.com/"]),
    st.dictionaries(st.sampled_from(["a", "b"]), json_values, max_size=2),
)
plain_caveats: st.SearchStrategy[Caveat] = st.one_of(expiries, methods, peers, customs, unknowns)
third_parties = st.builds(
    ThirdParty,
    principals.map(lambda principal: principal.public_key),
    st.just("https://discharger.example/v1/discharge"),
    st.binary(min_size=16, max_size=16),
    st.lists(plain_caveats, max_size=2).map(tuple),
)
caveats: st.SearchStrategy[Caveat] = st.one_of(plain_caveats, third_parties)
