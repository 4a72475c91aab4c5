"""URLs of storages: what of them may be told, and what obstore takes without a panic."""

from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

_ADDRESS = TypeAdapter(AnyHttpUrl)


def plain(url: str) -> str:
    """A URL without the user and password that somebody may have put into it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def is_address(endpoint: str) -> bool:
    """Whether a bucket's server can be asked there; the keys are options of their own."""
    try:
        address = _ADDRESS.validate_python(endpoint)
    except ValidationError:
        return False
    return address.username is None and address.password is None
