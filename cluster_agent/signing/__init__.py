"""The signing room: the only code that holds the signing keys."""
