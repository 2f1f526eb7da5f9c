"""The Kubernetes API server as the cluster agent uses it: TokenReview, Pods, Events."""
