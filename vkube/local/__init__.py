"""Local mode: the product on one machine without a cluster. No Kubernetes API is imitated: manifests go
through the real webhook, Pods to the runner, and pod-bound tokens come from an issuer of our own."""
