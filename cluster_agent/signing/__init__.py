"""The signing room: the only code that holds the keys which sign."""
