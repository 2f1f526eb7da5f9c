"""What each program would otherwise write again. As light as the sidecar: no FastAPI, no Kubernetes client,
and of our own folders only `blessings`."""
