"""The settings by area: a class of fields each, all of which ``Settings`` has.

Validators of all areas have names of their own: of two with one name, the first would be lost.
"""
