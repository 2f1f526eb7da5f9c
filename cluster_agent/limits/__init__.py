"""What one client, or all of them, may ask of the cluster agent."""
