"""The claim, by which an unclaimed cluster agent gets its identity from an administrator, once."""
