"""Pages for people: one module an area, each with a router that the schema leaves out."""
