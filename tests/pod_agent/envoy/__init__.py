"""Envoy's Secret Discovery Service."""
