"""How commands reach the API server and the cluster agent."""
