"""Verification of presented chains: signatures, names, roots, caveats and revocation, under a policy."""
