"""The write path: events become durable and ordered."""
