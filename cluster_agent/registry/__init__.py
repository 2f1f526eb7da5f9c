"""The applications that there are: their names, lifetimes and caveats, and by whom these were granted."""
