"""Blessing other keys: as an authority, and as the holder of a blessing."""
