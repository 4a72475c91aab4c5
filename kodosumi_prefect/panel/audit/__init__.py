"""Who did what, when, from where and by what means: recorded, shown and exported."""
