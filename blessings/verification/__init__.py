"""What a presented chain proves: signatures, names, roots, caveats and revocation, by a policy."""
