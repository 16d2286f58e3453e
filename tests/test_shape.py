"""The house keeps its shape: who imports whom, where a library is known, how long things are.

README's architecture tables are the rule; here they are held to the code.
"""

import ast
import importlib
import re
import shlex
import statistics
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runner import usage
from runner.cli import cli
from runner.cli_cluster import cluster
from runner.commands import CLUSTER_VERBS, VERBS
from runner.job.arguments import read_jobs
from runner.plan.file import read_plan
from runner.plan.planner import plan_job
from tests.support.docs import PAGES, ROOT, names, table, words

PACKAGE = ROOT / "runner"
FILES = sorted(PACKAGE.rglob("*.py"))
JOBS = sorted(path for path in (ROOT / "jobs").iterdir() if path.is_file() and path.suffix != ".md")
LONGEST_FUNCTION, MEDIAN_FUNCTION, LONGEST_MODULE = 60, 8, 450

FOLDERS = {
    names(folder)[0].rstrip("/"): set(words(allowed))
    for folder, _, allowed in table("folder", "owns", "may import, beside the shared words")
}
SHARED = {names(word)[0] for word, _ in table("shared word", "owns")}
ENTRY = {"__init__", "__main__", "call", "cli", "cli_cluster", "cli_verbs", "library"}
"""Names at the top that nobody shares: they may import every folder's public side."""
LIBRARIES = {library: words(rooms) for library, rooms in table("library", "only in")}
EVERYWHERE = {"orjson"}
DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "prometheus_client": "prometheus-client",
    "pydantic_core": "pydantic-core",
    "ruamel": "ruamel.yaml",
}
ONLY_DATA = {"tzdata"}
"""Needed where the system has no time zones; `zoneinfo` finds it."""


def module_of(path):
    """`runner/a/b.py` is `a.b`, `runner/a/__init__.py` is `a`, the package itself `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_of(path): path for path in FILES}


def folder_of(module):
    """The folder of a module; of one at the top, itself."""
    return module.split(".")[0]


@cache
def tree(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imported(module):
    """Every absolute name that a module imports, at its top or later."""
    return tuple(_imported(module))


def _imported(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import hides where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module):
    """The modules of this package that a module imports."""
    found = set()
    for name in imported(module):
        parts = name.split(".")
        if parts[0] != "runner":
            continue
        while parts[1:] and ".".join(parts[1:]) not in MODULES:
            parts.pop()
        found.add(".".join(parts[1:]) or "__init__")
    return found - {module}


def foreign_imports(module):
    """The third-party libraries that a module imports."""
    tops = {name.split(".")[0] for name in imported(module)}
    return {top for top in tops if top != "runner" and top not in sys.stdlib_module_names} - {"compression"}


def functions():
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.name}", node.end_lineno - node.lineno + 1


def public_names(module):
    """The literal `__all__` of a module, or None."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return None


# ---- who imports whom ---------------------------------------------------------------------------------


def test_the_architecture_tables_name_what_lies_in_the_package_and_nothing_else():
    assert {folder_of(module) for module in MODULES} == set(FOLDERS) | SHARED
    assert set(FOLDERS) == {path.parent.name for path in FILES} - {PACKAGE.name}


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ENTRY])
def test_a_module_imports_only_what_its_folder_may(module):
    folder = folder_of(module)
    allowed = FOLDERS[folder] | {folder} if folder in FOLDERS else set()
    if folder != "sandbox":
        allowed |= SHARED - ENTRY
    assert {other for other in own_imports(module) if folder_of(other) not in allowed} == set()


def test_where_a_change_goes_there_is_a_room_and_at_most_three_of_them():
    for what, touched in table("to add", "touch"):
        rooms = [room.rstrip("/").replace("/", ".") for room in names(touched)]
        assert 1 <= len(rooms) <= 3, what
        known = {*MODULES, *FOLDERS}
        assert {room for room in rooms if "<" not in room} <= known, what
        assert {room.split(".")[0] for room in rooms} <= set(FOLDERS) | SHARED, what


def test_what_a_folder_may_import_it_does_import():
    used = {folder: set() for folder in FOLDERS}
    for module in MODULES:
        if (folder := folder_of(module)) in FOLDERS:
            used[folder] |= {folder_of(other) for other in own_imports(module)} & set(FOLDERS) - {folder}
    assert used == FOLDERS


def test_no_flags_travel_as_a_dict():
    untyped = [
        f"{module}:{node.name}"
        for module in MODULES
        if module in ENTRY or folder_of(module) == "commands"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg is not None
    ]
    assert untyped == []


def test_every_type_that_is_read_is_learnt_at_import():
    """msgspec learns a type at its first use, and the process crashes where two threads are at that."""
    late = [
        f"{module}:{node.lineno}"
        for module in MODULES
        for function in ast.walk(tree(module))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"msgspec.json.decode", "msgspec.json.Decoder", "msgspec.convert"}
    ]
    assert late == []


def test_the_edges_do_not_know_each_other():
    assert FOLDERS["api"] == FOLDERS["audit"] == set()
    assert "api" not in FOLDERS["send"], "the middle runs on any sender"
    assert not any(name.startswith("runner.audit.journal") for name in imported("send.pacing"))


def test_the_sandbox_shares_nothing_with_the_client():
    for module in MODULES:
        if module.split(".")[0] == "sandbox":
            assert {other.split(".")[0] for other in own_imports(module)} <= {"sandbox"}, module
    assert FOLDERS["sandbox"] == set()


def test_no_module_imports_itself_by_way_of_others():
    done, path = set(), []

    def visit(module):
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in done:
            return
        path.append(module)
        for other in sorted(own_imports(module) - {"__init__"}):
            visit(other)
        path.pop()
        done.add(module)

    for module in MODULES:
        visit(module)


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name not in EVERYWHERE])
def test_a_library_is_known_in_its_rooms_only(library):
    users = {module for module in MODULES if library in foreign_imports(module)}
    allowed = {module for module in users if {module, module.split(".")[0]} & set(LIBRARIES[library])}
    assert users == allowed
    assert users, "no longer used"


def test_every_library_has_a_row_and_is_a_declared_dependency():
    used = set().union(*map(foreign_imports, MODULES))
    assert used == set(LIBRARIES)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
    declared = {re.match(r"[\w.-]+", line)[0] for line in lines}
    assert declared == {DISTRIBUTIONS.get(name, name) for name in used} | ONLY_DATA


def test_the_client_has_no_server_and_the_sandbox_no_client():
    assert not any(name.startswith("aiohttp.web") for name in imported("api.client"))
    served = {
        name
        for module in MODULES
        if module.startswith("sandbox")
        for name in imported(module)
        if name.split(".")[0] == "aiohttp"
    }
    assert served == {"aiohttp.web"}


# ---- what an import does ------------------------------------------------------------------------------

_WATCH = """
import sys, threading
seen = []
def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append((event, str(args[0])))
    if event in {"socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename"}:
        seen.append((event, ""))
sys.dont_write_bytecode = True
import croniter  # procrastinate's: it asks the system what this interpreter is
sys.addaudithook(watch)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
print(seen, threading.active_count())
"""


def python(*args, **more):
    done = subprocess.run(
        [sys.executable, *args], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **more
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def dotted(module):
    return "runner" if module == "__init__" else f"runner.{module}"


def test_nothing_opens_at_import():
    assert python("-c", _WATCH, *(dotted(m) for m in MODULES if m != "__main__")) == "[] 1"


@cache
def loaded_by(module):
    return set(python("-c", f"import sys, {module}; print(*sys.modules)").split())


def test_plan_cannot_reach_the_network():
    loaded = loaded_by("runner.commands.plan")
    assert not loaded & {"aiohttp", "runner.api.client", "runner.send.pacing", "runner.commands.execute"}


@pytest.mark.parametrize("verb", ["run", "resume", "rerun"])
def test_nothing_of_the_databases_is_loaded_where_none_is_named(verb):
    assert not loaded_by(f"runner.commands.{verb}") & {"psycopg", "procrastinate", "runner.cluster.database"}


def test_help_is_quick_because_it_loads_no_verb():
    shown, _, names = python(
        "-c",
        "import atexit, sys; sys.argv[1:] = ['--help']; atexit.register(lambda: print('|', *sys.modules))\n"
        "from runner.cli import main; main()",
    ).rpartition("|")
    assert "Exit codes:" in shown
    loaded = set(names.split())
    assert {name for name in loaded if name.startswith("runner.")} == {
        *("runner.cli", "runner.commands", "runner.commands.command_call", "runner.errors"),
        *("runner.process", "runner.streams", "runner.usage", "runner.version"),
    }
    assert not loaded & {"aiohttp", "pydantic", "asyncio", "msgspec", "pathlib"}


@pytest.mark.parametrize("verb", ["run", "resume", "rerun"])
def test_a_plan_is_sent_without_loading_what_only_job_files_and_lists_need(verb):
    assert not loaded_by(f"runner.commands.{verb}") & {"pydantic", "ruamel", "runner.plan.planner"}


# ---- sizes and names ----------------------------------------------------------------------------------


def test_no_function_is_long():
    lengths = dict(functions())
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}
    assert statistics.median(lengths.values()) <= MEDIAN_FUNCTION


def test_no_module_is_long():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: n for module, n in lengths.items() if n > LONGEST_MODULE} == {}


@pytest.mark.parametrize("module", [name for name in MODULES if name not in {"__main__"}])
def test_a_module_says_what_it_is_and_what_is_public(module):
    assert ast.get_docstring(tree(module)), "no docstring"
    public = public_names(module)
    if public is None:
        assert MODULES[module].name == "__init__.py"
        return
    assert len(set(public)) == len(public)
    there = importlib.import_module(dotted(module))
    assert [name for name in public if not hasattr(there, name)] == []


def test_what_others_import_is_public():
    hidden = set()
    for module in MODULES:
        for name in imported(module):
            room, _, what = name.removeprefix("runner.").rpartition(".")
            if name.startswith("runner.") and room in MODULES and name.removeprefix("runner.") not in MODULES:
                hidden |= {f"{name} (by {module})"} if what not in (public_names(room) or ()) else set()
    assert hidden == set()


def test_what_is_public_is_used_by_others():
    """Types aside: what a public function takes or returns is public."""
    idle = set()
    paths = [*FILES, *(ROOT / "tests").rglob("*.py")]
    in_files = Counter(
        word for path in paths for word in set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    )
    for module in MODULES:
        for name in public_names(module) or ():
            is_type = name[0].isupper() and not name.isupper()
            if not is_type and in_files[name] < 2:  # its own says it in `__all__`
                idle.add(f"{module}: {name}")
    assert idle == set()


def test_no_two_classes_share_a_name():
    classes = [
        (node.name, module)
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    ]
    names_of_classes = [name for name, _ in classes]
    assert [pair for pair in classes if names_of_classes.count(pair[0]) > 1] == []


OURS = re.compile(r"class (\w+)\((?:RunnerError|Refused|Exception|ValueError|AuditDamaged)\)")


def raised_in(function):
    """The names of the errors that a function raises by itself."""
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            yield getattr(made, "id", "")


def public_functions(body):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            yield node
        elif isinstance(node, ast.ClassDef) and node.name[0] != "_":
            yield from public_functions(node.body)


@pytest.mark.parametrize("module", MODULES)
def test_a_public_function_says_which_errors_it_raises(module):
    ours = {"ValueError", "AttemptFailed"}.union(
        *(OURS.findall(path.read_text(encoding="utf-8")) for path in FILES)
    )
    silent = {
        f"{function.name}: {error}"
        for function in public_functions(tree(module).body)
        for error in raised_in(function)
        if error in ours and error not in (ast.get_docstring(function) or "")
    }
    assert silent == set()


TOLD = re.compile(r"# (?:noqa(?:: [A-Z0-9, ]+)?|type: ignore(?:\[[a-z-, ]+\])?)(?P<why>.*)")


def test_what_a_checker_is_told_to_pass_over_has_its_reason():
    bare = []
    for path in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                told = TOLD.match(token.string) if token.type == tokenize.COMMENT else None
                if told and not re.search(r"\w{3}", told["why"]):
                    bare.append(f"{path.relative_to(ROOT)}:{token.start[0]}")
    assert bare == []


# ---- what a user meets --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_a_job_to_start_from_parses_and_plans(path, tmp_path):
    now = datetime.now(UTC)
    job = read_jobs([str(path)], user_id=None, now=now)
    plan_job(job, tmp_path / "plan", now=now, version="test")
    totals = read_plan(tmp_path / "plan").header.totals
    assert totals.batches
    assert not totals.rejected


@pytest.mark.parametrize("verb", [None, *cli.commands])
def test_every_verb_has_help(verb):
    result = CliRunner().invoke(cli, [verb, "--help"] if verb else ["--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")
    assert (cli.commands[verb] if verb else cli).help


def test_every_verb_stands_in_a_group_of_the_help_and_has_an_example_that_parses():
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert "More:" not in shown
    for name, verb in cli.commands.items():
        assert f"\n  {name} " in shown
        if not isinstance(verb, click.Group):
            check_example(verb, name)


def check_example(verb, *path):
    """Hold the example of a verb to its own flags and to its help."""
    words = shlex.split(verb.example)
    assert words[: len(path)] == list(path)
    assert verb.make_context(path[-1], words[len(path) :], resilient_parsing=False).params is not None
    shown = CliRunner().invoke(cli, [*path, "--help"]).output.replace("\n  ", " ")
    assert f"bulk-delete {verb.example}" in shown


def test_every_verb_of_many_machines_stands_in_a_group_and_has_an_example_that_parses():
    shown = CliRunner().invoke(cli, ["cluster", "--help"]).output
    assert "More:" not in shown
    assert "..." not in shown.partition("Usage:")[2].partition("Options:")[2], "a sentence is cut"
    for name, verb in cluster.commands.items():
        assert f"\n  {name} " in shown
        check_example(verb, "cluster", name)


@pytest.mark.parametrize(
    ("groups", "group"), [(VERBS, cli), (CLUSTER_VERBS, cluster)], ids=["all", "cluster"]
)
def test_the_line_that_lists_a_verb_is_the_first_of_its_own_help(groups, group):
    lines = {name: line for verbs in groups.values() for name, line in verbs.items()}
    assert lines == {name: verb.get_short_help_str(90) for name, verb in group.commands.items()}


def test_every_group_of_the_help_holds_something_that_exists():
    flags = {param.name for verb in cli.commands.values() for param in verb.params}
    assert {name for _, names in usage.FLAGS for name in names} <= flags


def test_no_path_of_a_machine_stands_in_a_file():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    home = str(Path.home())
    somebodys = re.compile(
        "|".join([r"/(?:home|Users|root)/\w", re.escape(f"{ROOT}/"), re.escape(f"{home}/.")])
    )
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            lines = data.decode("utf-8", "replace").splitlines()
            found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if somebodys.search(line)]
    assert found == []


def test_a_document_that_is_named_is_here():
    texts = [path.read_text(encoding="utf-8") for path in [*FILES, *(ROOT / "tests").rglob("*.py")]]
    named = {name for text in texts for name in re.findall(r"[\w.-]+\.md\b", text)}
    assert named <= {page.name for page in PAGES} | {"CHANGELOG.md", "README.zh-CN.md"}
