"""Issuing of replica blessings: the checks before a signature, in order, and the record of it."""
