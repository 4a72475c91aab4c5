"""Records what processes could not report themselves."""
