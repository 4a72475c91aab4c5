"""What runs regularly, and for whom."""
