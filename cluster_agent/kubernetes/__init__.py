"""The cluster agent's calls to the Kubernetes API server: TokenReview, Pods, Events."""
