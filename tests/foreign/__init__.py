"""What other authorities make, and how other verifiers judge it."""
