"""Accounts, signing in, and who may see and do what in the panel."""
