"""JWT-SVIDs: tokens that state a name for an audience, and the key sets with which they are verified."""
