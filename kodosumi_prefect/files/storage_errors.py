"""What a storage's error means, in one line of plain words.

obstore's own texts hold the page of XML that the bucket's server answered, and a print of Rust's
structures; both name keys and addresses that are nobody's business.
"""

import re
from urllib.parse import urlsplit

OPTION = "of file_storage_options"
LONGEST = 300  # characters of a text that is told as it is

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the last ones are of MinIO
# and of Azure.
_BY_CODE = {
    "AccessDenied": "its key may not do that in this bucket",
    "AccountProblem": "something is wrong with its account",
    "AllAccessDisabled": "this bucket is locked",
    "ExpiredToken": f"the session token has expired; set another token {OPTION}",
    "InternalError": "its server failed; try again",
    "InvalidAccessKeyId": f"it does not know the access key; set access_key_id {OPTION}",
    "InvalidBucketName": "that is no name of a bucket; set file_storage_url",
    "InvalidToken": f"the session token is wrong; set token {OPTION}",
    "NoSuchBucket": "there is no such bucket; make it, or set file_storage_url",
    "OperationAborted": "another request to it was in the way; try again",
    "QuotaExceeded": "it is full",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "RequestTimeout": "it waited too long for the content; try again",
    "ServiceUnavailable": "it is overloaded; try again later",
    "SignatureDoesNotMatch": f"the secret key is wrong; set secret_access_key {OPTION}",
    "SlowDown": "it is overloaded; try again later",
    "AuthenticationFailed": f"the key is wrong; set account_key {OPTION}",
    "ContainerNotFound": "there is no such container; make it, or set file_storage_url",
    "ServerBusy": "it is overloaded; try again later",
    "XMinioStorageFull": "it is full",
}
_BY_STATUS = {
    401: "it does not accept the key; set another one by file_storage_options",
    403: "it refuses the key, or the key may not do that in this bucket",
    404: "that is not there",
    429: "it is overloaded; try again later",
    503: "it is overloaded; try again later",
    507: "it is full",
}
_MISSING = ("NoSuchBucket", "ContainerNotFound")
_DEBUG = "\n\nDebug source"
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{3,60})</Code>")
_REQUEST = re.compile(r"<RequestId>([\w+/=-]{1,80})</RequestId>")  # what a cloud's support asks for
_ADDRESS = re.compile(r"Error performing \S+ (\S+) in ")
_KEYS_OF_MACHINES = "169.254.169.254"  # where cloud machines have keys, if they have a role


def is_missing_bucket(exc: BaseException) -> bool:
    """Whether the bucket is not there, which obstore tells like a file that is not."""
    code = _CODE.search(str(exc))
    return code is not None and code[1] in _MISSING


def in_words(exc: BaseException) -> str:
    """What happened and what to do, in one line without keys, XML or Rust."""
    text, _, debug = str(exc).partition(_DEBUG)
    address = found[1] if (found := _ADDRESS.search(text)) else ""
    if _KEYS_OF_MACHINES in address:
        return "no key is known for it; give one by file_storage_options"
    if (status := _STATUS.search(text)) is not None:
        return _refusal(int(status[1]), text)
    if "redirect without LOCATION" in text:
        return f"the bucket is in another region; set region {OPTION}"
    if "HTTP error" in text:
        return _broken(urlsplit(address).netloc or "its server", debug)
    return " ".join((text or type(exc).__name__).split())[:LONGEST]


def _refusal(status: int, text: str) -> str:
    """What a status means, with the names by which the server's owner finds it again."""
    code, request = _CODE.search(text), _REQUEST.search(text)
    words = _BY_CODE.get(code[1] if code else "") or _BY_STATUS.get(status)
    if words is None:
        words = "its server failed; try again" if status >= 500 else "it refuses the request"
    names = [f"{status} {code[1]}" if code else str(status)]
    names += [f"request {request[1]}"] if request else []
    return f"{words} ({', '.join(names)})"


def _broken(server: str, debug: str) -> str:
    """Why a server gave no answer."""
    if "dns error" in debug:
        return f"there is no machine called {server}; set endpoint {OPTION}"
    if "ConnectionRefused" in debug:
        return f"{server} refused the connection; start it, or set endpoint {OPTION}"
    if "kind: Timeout" in debug or "TimedOut" in debug:
        return f"{server} did not answer in time; try again"
    if "InvalidContentType" in debug:
        return f"{server} speaks no TLS; set endpoint {OPTION} to http://…, and allow_http to true"
    if "ertificate" in debug:
        return f"the certificate of {server} is not trusted here"
    return f"the connection to {server} broke off; try again"
