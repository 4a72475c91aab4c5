"""What would cost each test processor time and tells it nothing; imported before all else."""

import os
from functools import cache
from pathlib import Path

# No test speaks TLS, but each HTTP client reads all authorities that it would trust: here one,
# which takes a thirtieth of the time. Before Prefect is imported, which remembers the file.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("authority.pem"))

import httpx._config
import httpx._transports.default
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from kodosumi_prefect.panel.accounts import passwords

# In the session's own process it is read once.
httpx._transports.default.create_ssl_context = cache(httpx._config.create_ssl_context)

hasher_in_use = passwords._hasher
# Passwords are hashed as always, but as cheaply as argon2 can: it takes a tenth of a second.
passwords._hasher = cache(
    lambda: PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
)
