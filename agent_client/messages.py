"""The messages of the agent protocol as values: what its two clients have in common."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import (
    Blessing,
    BlessingStore,
    Caveat,
    Discharge,
    Discharges,
    Name,
    Pattern,
    PublicKey,
    RevocationLists,
    ThirdParty,
)
from blessings.caveats.discharges import parse_request
from blessings.caveats.kinds import encode as encode_caveats

VARIABLE = "V23_AGENT_PATH"
BASE_URL = "http://agent"
TIMEOUT_SECONDS = 10.0
NO_DISCHARGES = Discharges()
# The pod agent sends a line at least every 10 s.
SILENT_SECONDS = 30.0


class AgentError(Exception):
    """The pod agent is not there, or has no blessing yet. `reason` is one stable word for the cause."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ServedBlessing:
    """The blessing served now. `version` counts the rotations since the pod agent started."""

    version: int
    blessing: Blessing
    not_after: datetime
    renew_at: datetime
    public_key: str

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> ServedBlessing:
        return cls(
            version=answer["version"],
            blessing=Blessing.from_pem(answer["chain"]),
            not_after=datetime.fromisoformat(answer["notAfter"]),
            renew_at=datetime.fromisoformat(answer["renewAt"]),
            public_key=answer["publicKey"],
        )


@dataclass(frozen=True)
class Signature:
    """A signature by the pod's key; `blessings.verify_signature` checks it with the key of `fingerprint`."""

    signature: bytes
    algorithm: str
    public_key: str

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Signature:
        return cls(base64.b64decode(answer["signature"]), answer["algorithm"], answer["publicKey"])


@dataclass(frozen=True)
class Presentation:
    """What to show to a peer: a blessing with discharges. Some of `missing` may still be needed."""

    blessing: Blessing
    discharges: Discharges
    missing: tuple[ThirdParty, ...]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Presentation:
        return cls(
            Blessing.from_pem(answer["chain"]),
            Discharges(tuple(Discharge.from_json(one) for one in answer["discharges"])),
            tuple(parse_request(json.dumps(one["request"]).encode()) for one in answer["missing"]),
        )


def socket_path(path: str | os.PathLike[str] | None) -> str:
    """`path`, or what the variable names. Raises AgentError when there is neither."""
    chosen = path or os.environ.get(VARIABLE)
    if not chosen:
        raise AgentError("NoSocket", f"no pod agent: {VARIABLE} is not set; is the Pod injected?")
    return os.fspath(chosen)


def unreachable(error: Exception, what: str = "no answer from the pod agent") -> AgentError:
    return AgentError("Unreachable", f"{what}: {error}")


def watch_options(after: int) -> dict[str, Any]:
    """The parameters of a watch that notices when the pod agent falls silent."""
    return {
        "params": {"after": after, "heartbeat": "true"},
        "timeout": httpx.Timeout(TIMEOUT_SECONDS, read=SILENT_SECONDS),
    }


def document(response: httpx.Response) -> dict[str, Any]:
    """The answer's object. Raises AgentError for a refusal, and for what is no answer of the protocol."""
    try:
        answer: dict[str, Any] = response.json()
    except ValueError as error:
        raise unreachable(error) from error
    if response.is_success:
        return answer
    refusal = answer.get("error") or {}
    raise AgentError(str(refusal.get("reason")), str(refusal.get("message")))


def sign_request(message: bytes) -> dict[str, object]:
    return {"message": base64.b64encode(message).decode()}


def bless_request(
    public_key: PublicKey, extension: str, lifetime: timedelta, caveats: Sequence[Caveat]
) -> dict[str, object]:
    key = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "publicKey": key.decode(),
        "extension": extension,
        "lifetimeSeconds": int(lifetime.total_seconds()),
        "caveats": encode_caveats(caveats),
    }


def peer_path(peer: Name | Pattern) -> str:
    return f"/v1/blessings/{quote(str(peer))}"


def peer_request(blessing: Blessing, discharges: Discharges) -> dict[str, object]:
    return {
        "chain": blessing.to_pem(),
        "discharges": [one.to_json() for one in discharges.entries],
    }


def store(answer: Mapping[str, Any]) -> BlessingStore:
    entries = [(Pattern.parse(one["pattern"]), Blessing.from_pem(one["chain"])) for one in answer["forPeers"]]
    return BlessingStore(Blessing.from_pem(answer["default"]), tuple(entries))


def names(answer: Mapping[str, Any]) -> list[Name]:
    return [Name.parse(name) for name in answer["names"]]


def lists(response: httpx.Response) -> tuple[str, RevocationLists] | None:
    """An application's lists and their version; None when they are those that the request named. Raises
    AgentError, InvalidRevocationList."""
    if response.status_code == httpx.codes.NOT_MODIFIED:
        return None
    if response.status_code == httpx.codes.NOT_FOUND:
        return "", RevocationLists()
    if not response.is_success:
        document(response)
    return response.headers.get("ETag", ""), RevocationLists.from_pem(response.content)


def watched(line: str) -> ServedBlessing | None:
    """A line of a watch; None for one that only shows that the pod agent lives."""
    return ServedBlessing.parse(json.loads(line)) if line else None
