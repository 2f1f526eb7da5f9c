"""How an unclaimed cluster agent gets its identity from an administrator, once."""
