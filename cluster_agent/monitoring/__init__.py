"""What operators see of the cluster agent: Prometheus metrics, and traces."""
