"""What fuzzing begins with goes through each target, former crashes with it; and changes of it, without
coverage to guide them: `python -m tests.fuzz` is the real thing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from blessings import Blessing
from tests.fuzz import targets
from tests.fuzz.seeds import CRASHES, seeds
from tests.fuzz.targets import TARGETS

# What the library refuses with an error of its own, cryptography warns of as well.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


@pytest.mark.parametrize(("name", "target"), TARGETS.items())
def test_what_fuzzing_begins_with_goes_through(name: str, target: Callable[[bytes], None]) -> None:
    rng = random.Random(name)
    corpus = seeds(name)
    assert corpus
    for seed in corpus:
        target(seed)
    for _ in range(300):
        changed = bytearray(rng.choice(corpus) or b"\x00")
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        target(bytes(changed))


def test_every_former_crash_is_of_a_target() -> None:
    for path in CRASHES.glob("[!.]*"):
        assert any(path.name.startswith(f"{name}-") for name in TARGETS), path


def test_a_target_notices_a_parser_that_raises_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_data: bytes) -> Blessing:
        raise ZeroDivisionError

    monkeypatch.setattr(Blessing, "from_der", broken)
    with pytest.raises(ZeroDivisionError):
        targets.der_chain(b"")
