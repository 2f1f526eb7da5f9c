"""The listening side: TLS, connections, and the limits on them."""
