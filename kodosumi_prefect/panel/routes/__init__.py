"""The panel's HTTP operations, one file an area."""
