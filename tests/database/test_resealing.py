"""The secret key is changed, and nothing that it encrypted is lost."""

import pytest
from pydantic import SecretStr, ValidationError

from kodosumi_prefect.carried import carried
from kodosumi_prefect.cli import app
from kodosumi_prefect.cli.output import CommandError
from kodosumi_prefect.keys import ACCEPTED_FILE, FILE, panel_keys
from kodosumi_prefect.owner import Owner, signed, verified
from kodosumi_prefect.settings import Settings, reset_settings, use_settings
from kodosumi_prefect.stack.stack import Stack
from kodosumi_prefect.vocabulary import OWNER_LABEL
from tests.panel.panel_runs import Run
from tests.sealed_values import keep, readable

OLD, NEW, OTHER = ("".join([letter] * 40) for letter in "ano")
ALL = {"inputs": True, "answer": True, "launch": True}
NONE = dict.fromkeys(ALL, False)


def with_keys(settings: Settings, secret: str, *accepted: str) -> Settings:
    values = {"secret_key": SecretStr(secret)}
    values["secret_keys_accepted"] = SecretStr(", ".join(accepted)) if accepted else None
    return settings.model_copy(update=values)


def fid_in(database: str) -> str:
    run = Run(database).begin()
    run.close()
    return run.fid


def reseal(settings: Settings) -> None:
    reset_settings(settings)
    with use_settings(settings):
        app(["db", "reseal"])


def test_what_the_key_before_encrypted_is_read_and_then_encrypted_with_the_new_one(
    settings: Settings, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, both, new = (with_keys(settings, *keys) for keys in ((OLD,), (NEW, OLD), (NEW,)))
    kept = keep(database, old, fid_in(database))
    assert readable(database, old, kept) == ALL
    assert readable(database, new, kept) == NONE
    assert readable(database, both, kept) == ALL
    reseal(both)
    assert "3 encrypted values changed" in capsys.readouterr().out
    assert readable(database, old, kept) | {"launch": False} == NONE
    # The body of a launch is compared by the key of its time.
    assert readable(database, new, kept) == ALL | {"launch": False}
    assert readable(database, both, kept) == ALL
    reseal(both)
    assert "0 encrypted values changed to the secret key in force, 3 had it" in (
        capsys.readouterr().out
    )


def test_what_no_known_key_reads_is_counted_and_stays(settings: Settings, database: str) -> None:
    old = with_keys(settings, OLD)
    kept = keep(database, old, fid_in(database))
    with pytest.raises(CommandError, match="3 encrypted values can be read with no secret key"):
        reseal(with_keys(settings, NEW, OTHER))
    assert readable(database, old, kept) == ALL


def test_runs_get_keys_to_read_with_and_no_secret(settings: Settings, database: str) -> None:
    old, both = with_keys(settings, OLD), with_keys(settings, NEW, OLD)
    kept = keep(database, old, fid_in(database))
    travels = carried(both)
    assert not {OLD, NEW} & {str(value) for value in travels.values()}
    in_a_run = Settings(**travels)
    assert (in_a_run.secret_key, in_a_run.secret_keys_accepted) == (None, None)
    assert readable(database, in_a_run, kept) | {"launch": True} == ALL
    label = {OWNER_LABEL: signed(Owner("1", "mira"), "launch", old)}
    assert verified(label, "launch", in_a_run) == Owner("1", "mira")
    assert verified(label, "launch", with_keys(settings, NEW)) is None
    # As from a worker, whose environment has them.
    of_worker = Stack(both, on_progress=lambda *_: None).environment()
    assert not {OLD, NEW} & set(of_worker.values())
    names = ("RUN_KEY", "RUN_KEYS_ACCEPTED")
    given = {n.lower(): of_worker[f"PREFECT_INTEGRATIONS_KODOSUMI_{n}"] for n in names}
    worker = Settings(**given, data_dir=settings.data_dir)
    assert readable(database, worker, kept) | {"launch": True} == ALL
    assert {name: carried(worker)[name] for name in given} == given


def test_the_next_key_can_be_made_known_before_it_is_in_force(
    settings: Settings, database: str
) -> None:
    before = Settings(**carried(with_keys(settings, OLD, NEW)))  # of a run that began before
    kept = keep(database, with_keys(settings, NEW, OLD), fid_in(database))
    assert readable(database, before, kept) | {"launch": True} == ALL


def test_a_data_dir_keeps_the_keys_before_in_a_file(settings: Settings, database: str) -> None:
    settings.data_dir.joinpath(FILE).write_text(OLD)
    kept = keep(database, settings, fid_in(database))
    settings.data_dir.joinpath(FILE).write_text(NEW)
    assert readable(database, settings, kept) == NONE
    settings.data_dir.joinpath(ACCEPTED_FILE).write_text(f"{OTHER}\n{OLD}\n")
    assert readable(database, settings, kept) == ALL
    assert readable(database, Settings(**carried(settings)), kept) | {"launch": True} == ALL


def test_an_accepted_key_signs_nobody_in_and_signs_nothing(settings: Settings) -> None:
    new, both = panel_keys(with_keys(settings, NEW)), panel_keys(with_keys(settings, NEW, OLD))
    assert both.session == new.session
    assert both.identity.private_bytes_raw() == new.identity.private_bytes_raw()
    label = signed(Owner("1", "mira"), "launch", with_keys(settings, NEW, OLD))
    assert verified({OWNER_LABEL: label}, "launch", with_keys(settings, NEW)) is not None


def test_an_accepted_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValidationError, match="shorter than 32"):
        Settings(secret_keys_accepted=SecretStr(f"{OLD},short"))
