"""The life of root certificates: prepared, distributed, activated, retired."""
