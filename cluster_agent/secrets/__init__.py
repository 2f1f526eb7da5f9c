"""Bootstrap credentials: made, listed and forgotten for the applications of labelled namespaces."""
