"""Workloads in manifests and in a cluster, as functions of their JSON."""
