"""A terminal of whoever uses a running stack."""

import json
import sys
from typing import Any

import pytest

from kodosumi_prefect.cli import main
from kodosumi_prefect.settings import reset_settings
from tests.e2e.running import Up


class Terminal:
    """Commands of another process than the stack's, with its environment; what they print."""

    def __init__(
        self, up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name, value in up.environment.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *words: str, code: int = 0) -> str:
        reset_settings()
        self._monkeypatch.setattr(sys, "argv", ["kodosumi-prefect", *words])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert int(ended.value.code or 0) == code, out + err
        return str(out + err)

    def json_of(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))
