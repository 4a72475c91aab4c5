"""What people can launch: found, shown and called."""
