"""What an application's program uses to speak with the pod agent beside it: the agent protocol's client, the
principal behind it, and discharges."""
