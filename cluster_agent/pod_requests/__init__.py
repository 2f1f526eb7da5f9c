"""Signing of PodCertificateRequests: identity for a Pod without a sidecar, a Secret or a token.

The kubelet makes the key and the request; the API server's admission lets a kubelet name only Pods that run
on its node; we check what the request names again, sign by the same policy as SeekBlessings, and set the
request's status. docs/pod-certificates.md describes it.
"""
