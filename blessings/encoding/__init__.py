"""JSON in one canonical form, and its members read strictly."""
