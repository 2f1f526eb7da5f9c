"""These tests begin without tables, as the program does."""

from __future__ import annotations

import pytest


@pytest.fixture
def store_url(empty_store_url: str) -> str:
    return empty_store_url
