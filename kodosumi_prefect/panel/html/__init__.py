"""Payloads, forms and charts as HTML."""
