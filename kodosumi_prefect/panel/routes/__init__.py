"""The panel's HTTP operations, one file per area."""
