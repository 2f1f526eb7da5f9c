"""JSON in one canonical form, and strict reading of its fields."""
