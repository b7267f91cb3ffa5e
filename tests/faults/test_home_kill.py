"""kill -9 while a home is held: the next `strop up` takes it over."""

import subprocess
import sys
from pathlib import Path

from serving.home import hold_home, holder_of, stale_holder_of
from serving.settings import Settings


def test_the_lock_of_a_killed_holder_is_taken_over(tmp_path: Path) -> None:
    """kill -9 frees the home; the next holder learns whose lock it found."""
    settings = Settings(home=tmp_path / "home")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from serving.home import hold_home\n"
        "from serving.settings import Settings\n"
        "with hold_home(Settings(home=Path(sys.argv[1]))):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", program, str(settings.home)])
    killed.wait(60)
    assert holder_of(settings) is None
    assert stale_holder_of(settings) == killed.pid
    with hold_home(settings) as stale:
        assert stale == killed.pid
