"""States that are signed documents in the store, each the only one of its name.

The issuing key signs what a state is, its version and its text: a program with write access to the database
can neither make one nor use one as another. It can put back an older one, so the program that follows a
state refuses an older version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from blessings import BlessingsError, Principal
from cluster_agent.errors import StoreError
from cluster_agent.signing.signed_text import is_signed, signature_of
from cluster_agent.store.documents import SignedDocument


class _State(Protocol):
    @property
    def version(self) -> int: ...

    def to_json(self) -> str: ...


State = TypeVar("State", bound=_State)


@dataclass(frozen=True)
class SignedStates(Generic[State]):
    """The form of the states of one kind. `what` they are stands in the signed text, and in errors;
    `from_json` is the inverse of their `to_json`, for a version."""

    what: str
    from_json: Callable[[int, str], State]

    def signed(self, state: State, issuing: Principal) -> SignedDocument:
        """The document for the store."""
        document = state.to_json()
        signature = signature_of(self._text(state.version, document), issuing)
        return SignedDocument(state.version, document, signature)

    def opened(self, row: SignedDocument | None, issuing: Principal) -> State:
        """The state in the store. Raises StoreError when `issuing` did not sign it, or there is none."""
        if row is None:
            raise StoreError(f"the store has lost the {self.what}; restore it")
        if not is_signed(self._text(row.version, row.document), row.signature, issuing):
            raise StoreError(
                f"the {self.what} in the store were not put there by a cluster agent with this issuing key; "
                "start with the keys that it has, or use another database"
            )
        try:
            return self.from_json(row.version, row.document)
        except (BlessingsError, KeyError, TypeError, ValueError) as error:
            # Without its text, which may quote the document.
            raise StoreError(
                f"the {self.what} in the store cannot be read: {type(error).__name__}"
            ) from error

    def _text(self, version: int, document: str) -> str:
        return f"{self.what} {version}\n{document}"
