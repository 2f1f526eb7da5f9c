"""Revoking, and the lists that say what was revoked."""
