"""The listening side: TLS, connections, and how many of them one client may hold."""
