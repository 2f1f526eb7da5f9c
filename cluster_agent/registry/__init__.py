"""The registry of applications: their names, lifetimes and caveats, and the grants for their names."""
