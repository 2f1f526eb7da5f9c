"""The secrets: bootstrap credentials of applications, made, listed and forgotten."""
