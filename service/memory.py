"""Memory that large messages took goes back to the system when they are gone."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 128 * 1024


def give_large_blocks_back() -> None:
    """Keeps glibc's threshold for blocks of their own at 128 KiB.

    glibc raises it to the size of each such block that is freed, up to 32 MiB: the next large blocks come
    from the heap, where smaller ones behind them keep the memory. See M_MMAP_THRESHOLD in mallopt(3). Other C
    libraries are left as they are.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
