"""Monitoring of the cluster agent: Prometheus metrics, and traces."""
