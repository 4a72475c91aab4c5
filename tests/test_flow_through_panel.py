"""A flow that knows no database records its whole run through the panel."""

import logging
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.owner import Owner, signed
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler.client import get_client as get_spool_client
from kodosumi_prefect.spooler.panel_transport import PanelTransport
from kodosumi_prefect.vocabulary import OWNER_LABEL
from tests.panel.panel_runs import serving
from tests.services import Place, record_prefect


@flow(retries=1)
def elsewhere(tracer: Tracer, name: str = "") -> str:
    tracer.markdown(f"# Hello {name}")
    print("printed")
    logging.getLogger("some").warning("logged")
    if tracer._scope().attempt == 1:
        raise ValueError("once")
    return "done"


def test_a_flow_on_another_pool_is_recorded_from_its_opening_to_its_end(
    place: Place, tmp_path: Path
) -> None:
    panel = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    make_secret(panel)
    record_prefect(panel, place.api_url)
    with serving(panel) as stand, get_client(sync_client=True) as prefect:
        person = stand.person("who launched it")
        owner = signed(Owner(person.id, person.name), "some-launch", place.settings)
        made = prefect._client.post(
            "/flow_runs/",
            json={
                "flow_id": str(prefect.create_flow(elsewhere)),
                "parameters": {"name": "you"},
                "idempotency_key": "some-launch",
                "labels": {OWNER_LABEL: owner},
                "empirical_policy": {"retries": 1},
                "state": {"type": "PENDING"},
            },
        )
        run = prefect.read_flow_run(made.raise_for_status().json()["id"])
        fid = str(run.id)
        own = Settings(
            data_dir=tmp_path,
            panel_url=stand.url,
            run_token=SecretStr(token_for(fid, place.settings)),
        )
        settings_module.reset_settings(own)
        try:
            with use_settings(own):
                result: Any = run_flow(elsewhere, flow_run=run, parameters={"name": "you"})
                client = get_spool_client()
                assert client.flush(20)
                assert isinstance(client._delivery.route.current, PanelTransport)
                client.close()
        finally:
            settings_module.reset_settings(place.settings)
        assert result == "done"
        recorded = place.recorded(fid)
        kinds = [event.kind for event in recorded.events]
        assert kinds[:3] == ["status", "inputs", "meta"]
        assert {"stdout", "debug", "result"} <= set(kinds)
        assert recorded.final == {"str": "done"} or recorded.final == "done"
        assert (recorded.row["status"], recorded.row["attempt"]) == ("finished", 2)
        assert recorded.row["owner"] == person.id
        assert recorded.row["flow_name"] == "elsewhere"
        assert person.client.get(f"/outputs/status/{fid}").json()["status"] == "finished"
