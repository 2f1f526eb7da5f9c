"""Local mode: the product on one machine without a cluster.

It imitates no Kubernetes API. Manifests go through the real webhook, the runner runs the Pods, and our own
token issuer makes their pod-bound tokens.
"""
