"""Every error of the webhook, as a tree.

    WebhookError
    ├── BadRequestError             the HTTP request is not a review: answered 4xx
    └── RefusalError                the review is understood and refused: `allowed: false`

The difference between the last two matters to the pod author. An API server treats a 4xx answer as a failed
call and applies the `failurePolicy` (ours is `Ignore`), while a refusal always reaches the pod author.
"""

from __future__ import annotations

from webhook.reasons import AdmissionReason

LONGEST_MESSAGE = 2000


class WebhookError(Exception):
    """Root of every error that this package raises on purpose."""


class BadRequestError(WebhookError):
    """The HTTP request cannot be read as an AdmissionReview.

    Attributes:
        status: the HTTP status to answer with, 400-499.
        reason: the CamelCase reason of the answer and of the metric's label.
    """

    def __init__(self, status: int, reason: AdmissionReason, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class RefusalError(WebhookError):
    """The Pod asks for an identity and cannot have it as it is; the message states what to change. A longer
    one, which then quotes a long text of the Pod's, is cut."""

    def __init__(self, reason: AdmissionReason, message: str) -> None:
        super().__init__(message[:LONGEST_MESSAGE])
        self.reason = reason
