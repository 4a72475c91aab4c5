"""Words that databases, clients, services, Prefect and Ray know us by, each written once.

They are contracts: what was stored or deployed by another release holds them, so their values stay.
"""

# Dedupe keys: events of one execution with the same key are stored once, whoever reports them.
OPEN_STATUS_KEY = "open:status"
OPEN_INPUTS_KEY = "open:inputs"
OPEN_META_KEY = "open:meta"
# Begins the dedupe key of events that nobody in the run emitted, such as a task run's states.
# None of them is stored between a result and the end, where clients expect nothing; the reporter
# says it again after the end.
ASIDE = "task:"
# Stands in the place of a dedupe key in what a Spooler says by itself of a status.
LOCKS_STATUS_KEY = "locks:status"


def state_key(state_id: object) -> str:
    """Of the status that a state of the root flow run brings."""
    return f"state:{state_id}"


def error_key(state_id: object) -> str:
    """Of the error that a failed state brings."""
    return f"error:{state_id}"


def log_key(log_id: object) -> str:
    """Of a line that was logged to Prefect."""
    return f"log:{log_id}"


def task_key(state_id: object) -> str:
    """Of the line about a state of a task run."""
    return f"{ASIDE}{state_id}"


def lock_key(lid: str) -> str:
    """Of a question that each leg of a run asks at the same place."""
    return f"lock:{lid}"


def budget_key(per: str, unit: str, day: str, what: str) -> str:
    """Of what is told of a budget of a run."""
    return f"budget:{per}:{unit}:{day}:{what}"


# HTTP headers of Kodosumi's contract.
API_KEY_HEADER = "KODOSUMI_API_KEY"  # of a request: a named API key, or a session's token
LAUNCH_HEADER = "kodosumi_launch"  # of an answer: the fid
SCHEDULED_HEADER = "kodosumi_schedule"  # of an answer: the id of the schedule that was made
FAILED_HEADER = "kodosumi-failed"  # of an answer: what is wrong with sources, as JSON by URL
IDEMPOTENCY_HEADER = "Idempotency-Key"  # of a request: what is asked again with it is one launch
REPEATED_HEADER = "kodosumi_repeated"  # of an answer: it is that of an earlier request
SCHEDULE_HEADER = "x-kodosumi-schedule"  # of a request: save as a schedule instead of launching

# HTTP headers by which the panel tells a service who calls.
OWN_HEADERS = "x-kodosumi"  # begins these, and what nobody but the panel may send to a service
USER_HEADER = "x-kodosumi_user"  # id of the account
USERNAME_HEADER = "x-kodosumi_username"  # its name, percent-encoded where it is not plain ASCII
BASE_HEADER = "x-kodosumi_base"  # where the service lives
PANEL_HEADER = "x-kodosumi-url"  # where the panel lives
SIGNATURE_HEADER = "x-kodosumi-signature"  # a JWT over all of them; the only one that is believed
LAUNCH_ID_HEADER = "x-kodosumi-launch-id"  # the launch: Prefect makes one run of it
LAUNCH_IDS_HEADER = "x-kodosumi-launch-ids"  # of a service's answers: it heeds that
ENDPOINT_HEADER = "x-kodosumi-endpoint"  # the register's id of the endpoint, if the panel asks
KEY_PATH = "/.well-known/kodosumi/key"  # where the panel serves the key that signatures fit

SETTING_PREFIX = "PREFECT_INTEGRATIONS_KODOSUMI_"  # begins our settings' variables

# Cookies.
SESSION_COOKIE = "kodosumi_jwt"  # what a login sets
DEVICE_COOKIE = "kodosumi_device"  # a browser that somebody signed in with before
THEME_COOKIE = "kodosumi_theme"  # the look somebody chose; without it the system's
KEYS_COOKIE = "kodosumi_keys"  # whether somebody turned keys of one letter off

# Keys in the ASGI scope.
CALLER_SCOPE = "kodosumi.caller"  # the Caller, once the signature was checked
DIGEST_SCOPE = "kodosumi.digest"  # the Digest of the request's body
ENDPOINT_SCOPE = "kodosumi.endpoint"  # the Endpoint that is being served
FILES_SCOPE = "kodosumi.files"  # what was chosen in the form's fields for files
FOREIGN_SCOPE = "kodosumi.foreign"  # a browser sends this for a page of another site
INPROCESS_SCOPE = "kodosumi.inprocess"  # the panel itself calls, in its own process
LAUNCHES_SCOPE = "kodosumi.launches"  # how many launches the handler has begun by itself
OPERATOR_SCOPE = "kodosumi.operator"  # it does so for an operator
LOCAL_SCOPE = "kodosumi.local"  # a program on this machine sent this itself
LOCK_FACTS_SCOPE = "kodosumi.lock_facts"  # the panel's own answer, in its process
PROXY_USER_SCOPE = "kodosumi.proxy_user"  # whom the proxy in front names
RETURNED_SCOPE = "kodosumi.returned"  # the next launch is the one that the handler returned
SECRETS_SCOPE = "kodosumi.secrets"  # what was typed into password fields

# States in Prefect.
AWAITING_INPUT = "AwaitingInput"  # of runs that wait for people, in a process or without one
RESUMING = "Resuming"  # Prefect's own name: of those that were suspended and go on

# Labels in Prefect.
OWNER_LABEL = "kodosumi.owner"  # of flow runs: whose it is, signed
ENDPOINT_LABEL = "kodosumi.endpoint"  # of deployments that are ours to change: the endpoint's uid

SEALED = "sealed:"  # begins what is stored of an encrypted answer to a lock; JSON does not
OPENAPI_MARK = "x-kodosumi"  # of an operation: an endpoint that launches
FLOW_ATTRIBUTE = "__kodosumi__"  # of a flow's function: what ``@flow`` was told
POOL_TYPE = "kodosumi-ray"  # of our work pools and their workers, whose loggers have its name


def spooler_name(protocol: int) -> str:
    """Ray's name of the Spooler actor of a protocol; both of two serve while versions mix."""
    return f"spooler-{protocol}"


def instance_namespace(instance: str) -> str:
    """Ray's namespace of what belongs to a database, by its id."""
    return f"kodosumi-{instance}"
