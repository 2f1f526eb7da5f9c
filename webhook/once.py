"""An attribute that is computed at its first reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Once(Generic[_T]):
    """A method's result as an attribute: computed at its first reading, then kept in the object.

    `functools.cached_property` does the same, but up to Python 3.11 takes a lock each time, which costs more
    than most of what is read here. An error is not kept.
    """

    def __init__(self, read: Callable[[Any], _T]) -> None:
        self._read = read
        self.__doc__ = read.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> _T:
        # Not called again for this object: its own attribute comes before a descriptor that sets none.
        value = self._read(instance)
        instance.__dict__[self._name] = value
        return value
