"""Programs of others, unmodified, with the lines of docs/clients.md."""
