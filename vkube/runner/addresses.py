"""A separate IP address for each Pod, so that two replicas can listen on the same port, as in a cluster."""

from __future__ import annotations

import ipaddress
import random
import socket

from vkube.runner.errors import UnsupportedPod


class LoopbackAddresses:
    """Hands out addresses of 127.0.0.0/8, from a random /16 so that runners on one machine do not collide."""

    def __init__(self, chance: random.Random) -> None:
        self._next = ipaddress.IPv4Address(f"127.{chance.randint(64, 254)}.{chance.randint(0, 200)}.10")

    def allocate(self) -> str:
        """The next address. Raises UnsupportedPod when the machine cannot listen on it."""
        address = str(self._next)
        self._next += 1
        with socket.socket() as probe:
            try:
                probe.bind((address, 0))
            except OSError as error:
                raise UnsupportedPod(
                    f"cannot listen on {address} ({error.strerror}). Linux has all of 127.0.0.0/8; on macOS "
                    f"add the address first: sudo ifconfig lo0 alias {address}"
                ) from error
        return address
