"""What can stand in the way of a cluster for tests."""

from __future__ import annotations


class ImagesUnavailableError(Exception):
    """The images are not here and cannot be built; the message says what is missing and how to get it."""
