"""JWT-SVIDs: the keys that sign them, their rotation, the checks before a signature, and the public keys at
an OIDC discovery endpoint."""
