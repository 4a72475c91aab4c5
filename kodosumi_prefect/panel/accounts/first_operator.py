"""The first operator."""

from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.accounts.passwords import checked_password, random_password
from kodosumi_prefect.panel.audit.entry import Entry, Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.trail import write

NAME = "admin"


async def first_operator(identification: Identification) -> str | None:
    """Create the operator ``admin`` if there is none, with the configured password or a random one.

    Returns:
        A message for whoever started the panel, once; None if there is none.

    Raises:
        WeakPasswordError: the setting ``admin_password`` is too short.
    """
    accounts, settings = identification.accounts, identification.settings
    configured = settings.admin_password
    if await accounts.has_operator():
        return None
    if settings.auth == "proxy":
        return (
            "no operator exists yet, so nobody can manage accounts; create one of the name that "
            "the proxy sends with `kodosumi-prefect user add NAME --operator`"
        )
    password = random_password()
    if configured is not None:
        password = checked_password(configured.get_secret_value())
    hashed = await identification.passwords.hash(password)
    account = await accounts.add_first_operator(NAME, hashed)
    if account is None:
        if await accounts.has_operator():
            return None  # another panel was faster, and printed it
        return (
            f"the account {NAME} is not an operator and there is no other; create one with "
            "`kodosumi-prefect user add NAME --operator`"
        )
    whose = Target("account", account.id, account.name)
    entry = Entry(Action.ACCOUNT_CREATE, whose, means="start", details={"operator": True})
    await write(identification.reader, [entry])
    if configured is not None:
        return f"created the operator {NAME} with the password of the setting admin_password"
    return f"sign in as {NAME} with the password {password}  (it is not shown again)"
