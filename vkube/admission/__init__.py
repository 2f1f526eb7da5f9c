"""What the webhook would do to a Pod, and why: its own code, asked beside the cluster."""
