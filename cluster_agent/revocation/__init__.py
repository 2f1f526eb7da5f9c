"""Revocation, and the revocation lists."""
