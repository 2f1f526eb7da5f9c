"""The code that all programs share. It is light enough for the sidecar: no FastAPI, no Kubernetes client, and
of our own folders only `blessings`."""
