"""What can stand in the way of images."""

from __future__ import annotations


class ImagesUnavailableError(Exception):
    """The images are not here and cannot be built; the message says what is missing and how to get it."""
