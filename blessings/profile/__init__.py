"""Which X.509 certificates are blessings: what is written, and what is accepted when they are read."""
