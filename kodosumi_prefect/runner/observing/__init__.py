"""What the Observer is made of: its sources, its rules, and what it writes."""
