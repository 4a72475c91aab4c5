"""Forms: what people fill in before an agentic service starts, and while it waits for them."""
