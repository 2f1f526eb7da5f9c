"""A key with its blessings and roots, in memory or sealed for a disk."""
