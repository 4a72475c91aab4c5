"""Import paths of older Kodosumi services."""
