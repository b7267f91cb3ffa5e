"""What the commands say of a `store.url` that is wrong, or that nobody answers at."""

from pathlib import Path

import pytest

from gateway.command import main as command
from serving.ids import make_sign_key


@pytest.mark.parametrize(
    ("word", "url", "said"),
    [
        ("migrate", "postgre://me:hunter2@host/strop", "is no address"),
        ("gateway", "postgre://me:hunter2@host/strop", "is no address"),
        ("migrate", "postgresql://me:hunter2@127.0.0.1:9/strop", "does not answer"),
        ("status", "postgresql://me:hunter2@127.0.0.1:9/strop", "does not answer"),
    ],
)
def test_a_bad_store_url_is_one_line(
    word: str,
    url: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, the mend, and no password."""
    make_sign_key(tmp_path / "sign.key")
    monkeypatch.setenv("STROP_HOME", str(tmp_path))
    monkeypatch.setenv("STROP_STORE__URL", url)
    with pytest.raises(SystemExit) as ended:
        command.main([word])
    stderr = capsys.readouterr().err
    assert ended.value.code == 1
    assert stderr.startswith("strop: ")
    assert stderr.count("\n") == 1
    assert said in stderr
    assert "store.url" in stderr
    assert "hunter2" not in stderr
