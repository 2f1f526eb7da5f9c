"""What each program would otherwise write again. Light enough for the sidecar: no FastAPI, no Kubernetes
client."""
