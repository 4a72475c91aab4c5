"""A module beside the flow's, of a package."""

WORD = "beside"
