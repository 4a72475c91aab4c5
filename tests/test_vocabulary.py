"""The words that other programs know us by: their values stay, and each is written once."""

import ast
from pathlib import Path

import kodosumi_prefect
from kodosumi_prefect import vocabulary

PACKAGE = Path(kodosumi_prefect.__file__).parent
VALUES = {
    "OPEN_STATUS_KEY": "open:status",
    "OPEN_INPUTS_KEY": "open:inputs",
    "OPEN_META_KEY": "open:meta",
    "ASIDE": "task:",
    "LOCKS_STATUS_KEY": "locks:status",
    "API_KEY_HEADER": "KODOSUMI_API_KEY",
    "LAUNCH_HEADER": "kodosumi_launch",
    "SCHEDULED_HEADER": "kodosumi_schedule",
    "IDEMPOTENCY_HEADER": "Idempotency-Key",
    "REPEATED_HEADER": "kodosumi_repeated",
    "SCHEDULE_HEADER": "x-kodosumi-schedule",
    "OWN_HEADERS": "x-kodosumi",
    "USER_HEADER": "x-kodosumi_user",
    "USERNAME_HEADER": "x-kodosumi_username",
    "BASE_HEADER": "x-kodosumi_base",
    "PANEL_HEADER": "x-kodosumi-url",
    "SIGNATURE_HEADER": "x-kodosumi-signature",
    "LAUNCH_ID_HEADER": "x-kodosumi-launch-id",
    "LAUNCH_IDS_HEADER": "x-kodosumi-launch-ids",
    "ENDPOINT_HEADER": "x-kodosumi-endpoint",
    "KEY_PATH": "/.well-known/kodosumi/key",
    "SESSION_COOKIE": "kodosumi_jwt",
    "DEVICE_COOKIE": "kodosumi_device",
    "THEME_COOKIE": "kodosumi_theme",
    "CALLER_SCOPE": "kodosumi.caller",
    "DIGEST_SCOPE": "kodosumi.digest",
    "ENDPOINT_SCOPE": "kodosumi.endpoint",
    "FOREIGN_SCOPE": "kodosumi.foreign",
    "INPROCESS_SCOPE": "kodosumi.inprocess",
    "LAUNCHES_SCOPE": "kodosumi.launches",
    "LOCAL_SCOPE": "kodosumi.local",
    "LOCK_FACTS_SCOPE": "kodosumi.lock_facts",
    "PROXY_USER_SCOPE": "kodosumi.proxy_user",
    "RETURNED_SCOPE": "kodosumi.returned",
    "SECRETS_SCOPE": "kodosumi.secrets",
    "OPERATOR_SCOPE": "kodosumi.operator",
    "FAILED_HEADER": "kodosumi-failed",
    "FILES_SCOPE": "kodosumi.files",
    "KEYS_COOKIE": "kodosumi_keys",
    "SEALED": "sealed:",
    "SETTING_PREFIX": "PREFECT_INTEGRATIONS_KODOSUMI_",
    "AWAITING_INPUT": "AwaitingInput",
    "RESUMING": "Resuming",
    "OWNER_LABEL": "kodosumi.owner",
    "ENDPOINT_LABEL": "kodosumi.endpoint",
    "OPENAPI_MARK": "x-kodosumi",
    "FLOW_ATTRIBUTE": "__kodosumi__",
    "POOL_TYPE": "kodosumi-ray",
}


def test_the_words_that_databases_and_clients_hold_are_those_of_other_releases() -> None:
    words = {name: value for name, value in vars(vocabulary).items() if name.isupper()}
    assert words == VALUES
    assert vocabulary.state_key("s") == "state:s"
    assert vocabulary.error_key("s") == "error:s"
    assert vocabulary.log_key("l") == "log:l"
    assert vocabulary.task_key("s") == "task:s"
    assert vocabulary.spooler_name(1) == "spooler-1"
    assert vocabulary.instance_namespace("i") == "kodosumi-i"


def test_no_word_of_the_vocabulary_is_written_anywhere_else() -> None:
    words = set(VALUES.values()) | {"state:", "error:", "log:", "spooler-"}
    again = []
    for path in PACKAGE.rglob("*.py"):
        if path.name == "vocabulary.py" or "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                value = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                if value in words:
                    again.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {value!r}")
    assert again == []
