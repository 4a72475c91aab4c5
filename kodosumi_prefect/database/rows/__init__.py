"""What queries of ``database/sql`` return, a module for each of its areas."""
