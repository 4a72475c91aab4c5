"""What we touch of other packages' private API, one module a package.

``tests/compat`` says in one line what a new release of one of them changed.
"""
