"""The Flow Register: where endpoints are found, and what is known of them."""
