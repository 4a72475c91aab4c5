"""Flow runs that never heard of us become executions, by tags, deployments and work pools."""

from kodosumi_prefect.settings import Settings
from tests.observer.watching import Watch, observing


def test_a_plain_run_becomes_an_execution_with_states_and_logs(watch: Watch) -> None:
    with observing(watch):
        fid = watch.plain(lines=300)
        found = watch.until_ended(fid)
    kinds = [event.kind for event in found.events]
    for e in found.events:
        print(e.seq, e.kind, e.payload[:80], e.attempt, e.source)
    assert found.events[0].payload == "starting"
    assert kinds[:4] == ["status", "inputs", "meta", "status"]
    assert 0
