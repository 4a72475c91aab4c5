"""The Flow Register: where endpoints are found, and what is known about them."""
