"""Handing a question on to somebody else."""

from kodosumi_prefect.database.rows.locks import AccountName, GivenAnswer, Lock
from kodosumi_prefect.locks.answering import AnsweredError, NotAskedError, closed
from kodosumi_prefect.locks.asking import OWNER
from kodosumi_prefect.locks.held import hold
from kodosumi_prefect.stream.reader import Reader


class RecipientError(ValueError):
    """A question cannot be handed on to this account."""


async def delegate(
    reader: Reader,
    fid: str,
    lid: str,
    to: str,
    *,
    by: str,
    name: str | None,
    means: str | None = None,
    operator: bool = False,
) -> str:
    """Have an account asked in place of another one.

    Who is asked hands on their own part, is not asked any more, and links that were made for them
    end. An operator who is not asked has only the new account asked, and all links end.

    Arguments:
        to: the name of an active account.
        by: id of the account that hands it on.
        name: what people call that one.
        means: as for ``Locks.answer``.

    Returns:
        The name of the account that is asked now.

    Raises:
        UnknownLockError: there is no such lock.
        AnsweredError: it is no longer open, with the reason.
        NotAskedError: somebody else is asked.
        RecipientError: there is no such account, or it is asked already.
    """
    async with hold(reader, fid, lid, by) as held:
        lock = held.lock
        if (reason := closed(lock)) is not None:
            raise AnsweredError(lock, reason)
        if not (lock.is_asked or operator):
            raise NotAskedError(lock)
        known = await held.rows_of(AccountName, "active_account", name=to.strip())
        if not known:
            raise RecipientError(f"there is no active account {to[:80]!r}")
        recipient = known[0]
        if recipient.id == by and lock.is_asked:
            raise RecipientError("you are asked already; hand it on to somebody else")
        given = await held.rows_of(GivenAnswer, "answers_of_lock")
        if any(each.who == recipient.id for each in given):
            raise RecipientError(f"{recipient.name} has answered already")
        handed_on = [each for each in lock.handed_on if each != recipient.id]
        if lock.is_asked:
            kept = _without(lock, by, name)
            if lock.owner == by:  # who is asked in place of names that stand for nobody
                _, nobody = await held.people(kept)
                kept = [each for each in kept if each not in nobody]
            handed_on = [*(each for each in handed_on if each != by), by]
        else:
            kept = []
        asked = [*kept, f"@{recipient.id}"]
        await held.execute("set_asked", asked=list(dict.fromkeys(asked)), handed_on=handed_on)
        await held.execute("revoke_lock_links", account=by if lock.is_asked else None)
        await held.note(
            "delegated",
            who=by,
            who_name=name,
            means=means,
            recipients=[recipient.name],
            reached=[recipient.name],
        )
        held.tell(f"handed on to {recipient.name} by {name}")
        return recipient.name


def _without(lock: Lock, account: str, name: str | None) -> list[str]:
    """Who else is asked beside an account; teams stay, of which it is one of several."""
    own = {f"@{account}", (name or "").lower()}
    if lock.owner == account:
        own.add(OWNER)
    return [each for each in lock.asked or [OWNER] if each not in own]
