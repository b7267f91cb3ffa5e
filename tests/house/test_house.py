"""The house's own rules: what is shipped, how files look, what README promises."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROOMS = {"gateway", "serving", "retrain", "monitoring"}
MAX_LINES = 300


def committed_files() -> list[Path]:
    """Return every file that git knows and that is there."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def python_files() -> list[Path]:
    """Return every committed Python file."""
    return [path for path in committed_files() if path.suffix == ".py"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the wheel, built from what is committed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in committed_files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(found).namelist())


@pytest.mark.timeout(300)
def test_the_wheel_holds_exactly_the_four_rooms(wheel: set[str]) -> None:
    """All that is committed in the rooms and nothing else: no tests, no deploy, no leftovers."""
    shipped = {name for name in wheel if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for path in committed_files()
        if path.relative_to(ROOT).parts[0] in ROOMS
    }
    assert (wanted - shipped, shipped - wanted) == (set(), set())


def test_imports_point_down() -> None:
    """A room imports only rooms below it; pure deciders import no I/O; nobody imports torch."""
    command = [str(Path(sys.executable).parent / "lint-imports")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_introduces_itself_and_stays_small(path: Path) -> None:
    """Every module has a docstring and 300 lines at most; an `__init__.py` is empty."""
    text = path.read_text()
    if path.name == "__init__.py":
        assert text == ""
        return
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= MAX_LINES


def test_a_unit_test_starts_nothing() -> None:
    """No process, no gateway, no torch: what needs them is in tests/flows, faults or contracts."""
    words = re.compile(
        r"subprocess|Popen|os\.fork|Supervisor\(|running_gateway|run_trainer"
        r"|^ *(?:import|from) (?:torch|transformers|peft|trl)\b",
        re.MULTILINE,
    )
    unit_tests = [path for path in python_files() if (ROOT / "tests" / "unit") in path.parents]
    assert unit_tests
    assert [path.name for path in unit_tests if words.search(path.read_text())] == []


def test_readme_names_each_make_target() -> None:
    """README says what each target of the Makefile is for."""
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert [target for target in targets if f"make {target}" not in readme] == []


def test_code_cites_only_documents_that_are_here() -> None:
    """A page that a comment sends its reader to is in the repository; papers go by their title."""
    here = {path.name.lower() for path in committed_files()}
    cited = {
        (str(path.relative_to(ROOT)), name)
        for path in python_files()
        for name in re.findall(r"[\w-]+\.md\b", path.read_text())
    }
    assert {(path, name) for path, name in cited if name.lower() not in here} == set()


@pytest.mark.parametrize("path", committed_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_committed_knows_this_machine(path: Path) -> None:
    """No folder of whoever wrote it, no package index; PyTorch's is named once, in the Makefile."""
    if path == Path(__file__):
        return
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    machine = r"(?:^|[\s\"'=(])/(?:work|home|Users|root)/\w"
    index = r"pypi\.org|pythonhosted\.org|download\.pytorch\.org"
    assert re.findall(machine, text, re.MULTILINE) == []
    allowed = 1 if path == ROOT / "Makefile" else 0
    assert len(re.findall(index, text)) == allowed
