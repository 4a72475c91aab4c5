"""``spool``: events that could not be delivered yet, and the actor that takes them on Ray."""

from importlib.util import find_spec

import cyclopts

from kodosumi_prefect.cli.options import of_stack
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.settings import database_url, get_settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.panel_transport import PanelTransport
from kodosumi_prefect.spooler.replay import replay_orphans, replay_refused
from kodosumi_prefect.spooler.transport import NoDatabaseError, SpoolerAwayError, Transport

app = cyclopts.App(name="spool", help="Events that wait for Postgres, and the Spooler on Ray.")


@app.command
@of_stack
def replay() -> None:
    """Deliver the spill files that ended processes left, and try again what Postgres refused.

    Delivering twice stores nothing twice. Where no database is known, it goes through the panel,
    with run_token, or with tokens that the installation's key makes.
    """
    settings = get_settings()
    transport: Transport
    if database_url(settings) is None and settings.panel_url is not None:
        transport = PanelTransport(settings, own_tokens=True)
    else:
        transport = Spooler(require_database(settings), settings.database_schema)
    try:
        done = replay_orphans(settings, transport)
        tried = replay_refused(settings, transport)
    except (NoDatabaseError, ProtocolError, SpoolerAwayError) as exc:
        raise CommandError(str(exc)) from exc
    finally:
        transport.close()
    for path, count in done.items():
        console.print(f"{path}: {count} batches delivered", markup=False, soft_wrap=True)
    for path, (stored, left) in tried.items():
        text = f"{path}: {stored} batches that were refused are stored, {left} are refused again"
        console.print(text, markup=False, soft_wrap=True)
    orphans = [path for path in spill.orphans(spill.folder(settings)) if str(path) not in done]
    for orphan in orphans:
        fids = ", ".join(spill.first_fids(orphan)) or "an unknown execution"
        text = f"{orphan}: kept, as there is no token of {fids}; set run_token"
        console.print(text, markup=False, soft_wrap=True)
    if not done and not tried and not orphans:
        console.print(f"nothing waits in {spill.folder(settings)}", markup=False, soft_wrap=True)


@app.command
@of_stack
def start() -> None:
    """Start the Spooler in the Ray cluster, through which its processes write.

    A kodosumi-ray worker does this by itself. The Spooler stays until the cluster ends.
    """
    from kodosumi_prefect.runner.ray_connection import connect_ray

    settings = get_settings()
    require_database(settings)
    if settings.ray_address == "local":
        raise CommandError(
            "ray_address is local: each process has a Ray of its own, and no Spooler"
        )
    if find_spec("ray") is None:
        raise CommandError("Ray is not installed; run pip install 'kodosumi-prefect[ray]'")
    connect_ray(settings.model_copy(update={"ray_local": False}))
    # Imported late, since it imports Ray.
    from kodosumi_prefect.spooler.actor import ensure_spooler

    try:
        address = ensure_spooler(settings)
    except (ProtocolError, SpoolerAwayError) as exc:
        raise CommandError(str(exc)) from exc
    outcome = "started" if address.created else "was running already"
    console.print(f"{address.name} in {address.namespace} {outcome}", markup=False, soft_wrap=True)
