"""Where the sources are that the tests run."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
