"""What a Kodosumi service imports."""
