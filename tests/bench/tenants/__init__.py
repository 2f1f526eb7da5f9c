"""A hostile tenant beside a normal one: what the normal one notices."""
