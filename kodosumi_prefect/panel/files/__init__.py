"""Files of executions over HTTP: sent, listed, read and removed."""
