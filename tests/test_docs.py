"""README says what the program is: its tables are held to the code, its commands to the command line."""

import json
import re
import shlex

import click
import pytest

from runner import access, outcomes, settings
from runner.audit.records import COMMON_FIELDS, FIELDS, STATUSES
from runner.cli import cli
from runner.cli_cluster import cluster
from runner.cluster import grants, slots
from runner.config.read import read_config
from runner.config.schema import ALLOWED
from runner.job import document, load
from runner.job.schema import job_schema
from runner.output.results import result_schema
from runner.phones import PHONE_RULES
from runner.sandbox import control
from runner.sandbox.faults import FAULTS, FaultSettings
from runner.send import breaker, guard, pacing, ramp, session, watches
from runner.tell.ending import ENDS
from runner.tell.messages import KINDS, MESSAGES_S
from runner.tell.metrics import METRICS
from runner.tell.ping import END_S, START_S
from runner.tell.robots import ROBOTS
from runner.usage import COMPLETION, EXIT_CODES
from tests.support.docs import CHINESE, FENCED, PAGES, PROSE, ROOT, TEXT, blocks, names, table, words

DEMO = "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/bulk-delete demo"
TESTS = ".venv/bin/pip install -q '.[test]' && .venv/bin/python -m pytest -q -n auto"
MOST_LINES = 200

HELP = {"-h", "--help", "--version"}


_VERBS = table("command", "does", "exit codes")
_VERBS_IN_CHINESE = table("命令", "作用", "退出码", text=CHINESE)


def options(group=cli):
    """Option → the verbs that have it, and its help."""
    found = {}
    for verb, command in group.commands.items():
        for param in command.params:
            if isinstance(param, click.Option):
                found.setdefault(param.opts[0], {})[verb] = param.help
    return found


# ---- the first two commands ---------------------------------------------------------------------------


def test_the_first_two_blocks_are_one_command_each():
    assert blocks()[:2] == [[DEMO], [TESTS]]


def test_the_first_page_is_not_too_long():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


# ---- command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [_VERBS, _VERBS_IN_CHINESE], ids=["en", "zh"])
def test_every_verb_stands_in_the_table_and_has_help(rows):
    assert {words(row[0])[0] for row in rows} == set(cli.commands)
    assert [verb for verb, command in cli.commands.items() if not command.help] == []


@pytest.mark.parametrize("rows", [_VERBS, _VERBS_IN_CHINESE], ids=["en", "zh"])
def test_the_codes_in_the_command_table_are_exit_codes(rows):
    known = {str(code) for code, *_ in EXIT_CODES}
    for command, _, codes in rows:
        assert codes in {"all", "全部"} or set(re.findall(r"\d+", codes)) <= known, command


def test_a_help_that_tells_of_exit_codes_tells_of_those_in_the_table():
    told = {words(row[0])[0]: row[2] for row in _VERBS}
    for verb, command in cli.commands.items():
        shown = re.findall(r"^ +(\d+)  ", command.epilog or "", re.MULTILINE)
        codes = (
            [str(code) for code, *_ in EXIT_CODES] if told[verb] == "all" else re.findall(r"\d+", told[verb])
        )
        assert shown in ([], codes), verb


def test_every_option_stands_in_the_table_with_its_verbs():
    rows = {names(option)[0].split()[0]: set(words(of)) for option, of, _, _ in table(*_OPTIONS)}
    assert rows == {option: set(verbs) for option, verbs in options().items()}


_OPTIONS = ("option", "of", "default", "meaning")


def test_every_option_of_many_machines_stands_in_their_table():
    rows = {
        name.split()[0]: set(words(of))
        for told, of, _, _ in table("option", "of `cluster`", "default", "meaning")
        for name in names(told)
    }
    assert rows == {option: set(verbs) for option, verbs in options(cluster).items()}


def test_every_verb_of_many_machines_stands_in_their_table():
    assert [words(verb)[0] for verb, _ in table("verb", "does")] == list(cluster.commands)
    assert [verb for verb, command in cluster.commands.items() if not command.help] == []
    (row,) = [row for row in _VERBS if words(row[0])[0] == "cluster"]
    assert names(row[1]) == list(cluster.commands)


def test_every_option_has_help():
    told = [*options().items(), *options(cluster).items()]
    assert [option for option, verbs in told if not all(verbs.values())] == []


def test_a_default_in_the_table_is_one_in_the_help():
    for option, of, default, _ in table(*_OPTIONS):
        helps = options()[names(option)[0].split()[0]]
        value = names(default)[0] if names(default) else default
        if (
            not re.fullmatch(r"[\w./<>: -]*[0-9/][\w./<>: -]*", value)
            or " " in value
            or "tmp" in value
            or "://" in value
        ):
            continue
        values = value.split(",")
        assert all(f"[{v.strip()}]" in " ".join(helps.values()) for v in values), (option, of)


def test_the_environment_is_named():
    named = set(re.findall(r"\b_?BULK_DELETE_[A-Z_]+", TEXT))
    assert named - {COMPLETION} == {
        access.ENV_BASE_URL,
        access.ENV_TOKEN,
        access.ENV_TOKEN_FILE,
        access.ENV_DATABASE,
        access.ENV_DATABASE_FILE,
    }


def test_the_vendors_host_is_named():
    assert f"`{access.DEFAULT_BASE_URL}`" in PROSE


def test_every_result_has_its_row_and_what_that_names_is_in_the_schema():
    parts = result_schema()["$defs"].values()
    kinds = {part["properties"]["type"]["enum"][0] for part in parts if "type" in part.get("properties", {})}
    rows = table("`type`", "its own fields")
    assert {kind for row in rows for kind in names(row[0])} == kinds
    known = {*schema_keys(result_schema()), *re.findall(r"'(\w+)'", str(result_schema()))}
    assert {name for row in rows for name in names(row[1])} <= known


def test_exit_codes():
    rows = table("code", "means", "do")
    assert [(int(code), means, do) for code, means, do in rows] == [
        (code, means, do or "–") for code, means, do in EXIT_CODES
    ]


def test_exit_codes_in_chinese():
    """The same codes; what is typed stands in both."""
    rows = [
        (int(code), names(means), names(do)) for code, means, do in table(*_CODES_IN_CHINESE, text=CHINESE)
    ]
    assert rows == [(code, names(means), names(do or "")) for code, means, do in EXIT_CODES]


_CODES_IN_CHINESE = ("退出码", "含义", "该做什么")


def command_lines():
    """Every `bulk-delete …` that a reader may type, from blocks and from running text."""
    lines = [line for block in blocks() for line in block]
    lines += [text for text in names(PROSE) if text.startswith("bulk-delete ")]
    for line in lines:
        for part in re.split(r"&&|;|>>", line):
            match = re.search(r"(?:^|[/ ])bulk-delete (?!-)(.+)", part)
            if match:
                yield match[1].strip()


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_every_command_that_a_reader_may_type_exists(line):
    group, (verb, *rest) = cli, shlex.split(line)
    if verb == "cluster":
        group, (verb, *rest) = cluster, rest
    known = {option for option, verbs in options(group).items() if verb in verbs} | HELP
    assert verb in group.commands
    assert {word for word in rest if word.startswith("--")} <= known


def test_options_named_in_the_text_exist():
    texts = [text for text in names(PROSE) if not text.startswith("python ")]
    named = {word for text in texts for word in text.split() if re.fullmatch(r"--[a-z-]+", word)}
    assert named - set(options()) - set(options(cluster)) - HELP == set()


@pytest.mark.parametrize("line", [text for text in names(PROSE) if text.startswith("python ")])
def test_every_command_of_a_developer_exists(line):
    _, *rest = shlex.split(line)
    program = f"{rest[1].replace('.', '/')}.py" if rest[0] == "-m" else rest[0]
    if program == "runner.py":
        return
    folder = ROOT / program.removesuffix(".py")
    files = folder.glob("*.py") if folder.is_dir() else [ROOT / program]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    assert [word for word in rest if word.startswith("--") and f'"{word}"' not in source] == []


# ---- job file -----------------------------------------------------------------------------------------


def test_the_example_is_the_job_file_itself():
    example = (ROOT / "jobs" / "reference.yaml").read_text(encoding="utf-8")
    assert f"```yaml\n{example}```" in TEXT


def schema_keys(schema):
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from schema_keys(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from schema_keys(part)


def test_every_key_of_the_schema_is_shown():
    missing = {key for key in schema_keys(job_schema()) if not re.search(rf"\b{key}:", TEXT)}
    assert missing == set()


def test_the_bounds_of_a_job_file_are_those_of_the_code():
    assert f"{load.MAX_BYTES >> 20} MiB, {document.MAX_VALUES:,} values" in PROSE
    assert f"{document.MAX_MAPPINGS:,} groups of keys" in PROSE
    assert f"{document.MAX_DEPTH} levels" in PROSE


def test_every_phone_rule_is_shown():
    assert [names(row[0])[0] for row in table(*_RULES)] == list(PHONE_RULES)


_RULES = ("`phone_rule`", "a number is", "taken off before")


def test_every_safety_rule_is_shown():
    rows = {names(row[0])[0] for row in table("rule", "default", "what it does")}
    assert rows == {*settings.Safety.__dataclass_fields__, "max_rows"}


# ---- the operator's configuration ---------------------------------------------------------------------


def test_every_end_has_its_row():
    rows = {
        names(word)[0]: {int(code) for code in re.findall(r"\d+", codes)} for word, codes, _ in table(*_ENDS)
    }
    assert rows == {end: {code for code, other in ENDS.items() if other == end} for end in ENDS.values()}


_ENDS = ("word", "exit code", "means")


def test_every_kind_of_message_has_its_row():
    rows = {names(kind)[0]: set(names(keys)) for kind, keys, _ in table("kind", "keys", "goes out as")}
    assert rows == {kind: set(keys) for kind, keys in ALLOWED.items()}
    assert list(rows) == list(KINDS)


def test_every_metric_has_its_row():
    assert [names(metric)[0] for metric, _ in table("metric", "of")] == list(METRICS)


def test_the_times_and_limits_of_telling_are_those_of_the_code():
    assert f"Messages cost at most {MESSAGES_S:g} s together, pings at most {START_S + END_S:g} s" in PROSE
    limits = {kind: robot.limits for kind, robot in ROBOTS.items()}
    assert limits["dingtalk"] == limits["wecom"] == ((20, 60.0),)
    assert limits["feishu"] == ((5, 1.0), (100, 60.0)), "5 a second and 100 a minute"


def test_the_example_of_a_configuration_is_one(tmp_path):
    (example,) = [body for language, body in FENCED.findall(TEXT) if language == "toml" and "[ping]" in body]
    for name, secret in (("dingtalk.url", "https://robot.example/"), ("dingtalk.secret", "SEC12345")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(example)
    config.chmod(0o600)
    assert [one.kind for one in read_config(config).notify] == ["dingtalk", "command"]


# ---- outcomes and audit -------------------------------------------------------------------------------


def outcome_rows():
    """Each row but the first, as (codes, HTTP codes only, error word, uncertain, what then)."""
    for what, error, was, then in table("what happened", "`error`", "it was", "then")[1:]:
        codes = [int(code) for code in names(what) if code.isdigit()]
        yield codes, names(error)[0], was == "uncertain", then


def test_every_fate_has_its_row():
    rows = sorted((error, uncertain, then) for _, error, uncertain, then in outcome_rows())
    assert rows == sorted((kind.error, kind.uncertain, kind.then.value) for kind in outcomes.TABLE)


@pytest.mark.parametrize(("codes", "error", "uncertain", "then"), [row for row in outcome_rows() if row[0]])
def test_a_code_means_what_its_row_says(codes, error, uncertain, then):
    for code in codes:
        kind = (
            outcomes.kind_of_envelope(code)
            if code > 599 or error != "redirect"
            else outcomes.kind_of_http(code)
        )
        assert (kind.error, kind.uncertain, kind.then.value) == (error, uncertain, then), code
        if code < 600:
            assert outcomes.kind_of_http(code) == kind


def test_every_code_of_the_table_in_code_is_shown():
    shown = {code for codes, *_ in outcome_rows() for code in codes}
    for kind in outcomes.TABLE:
        said = shown.intersection(kind.codes)
        assert said == set(kind.codes) or (said and len(kind.codes) >= 100), kind


def test_every_error_word_is_shown():
    assert [word for word in outcomes.ERROR_WORDS if f"`{word}`" not in PROSE] == []


def test_every_status_is_explained():
    assert [names(row[0])[0] for row in table("status", "means", "next step")] == list(STATUSES)


def test_every_record_has_its_row_and_every_field_its_place():
    rows = {
        names(record)[0]: tuple(names(fields)) for record, _, fields in table("record", "written", "fields")
    }
    assert rows == dict(FIELDS)
    assert all(f"`{field}`" in PROSE for field in COMMON_FIELDS)


# ---- figures ------------------------------------------------------------------------------------------


def test_the_figures_of_pacing_are_those_of_the_code():
    assert f"{guard.MARGIN_S:g} s longer" in PROSE
    assert f"{guard.START_MARGIN_S:g} s more" in PROSE
    assert f"every {ramp.STEP_S:g} seconds" in PROSE
    assert f"1/{1 / ramp.FLOOR:g} of yours" in PROSE
    assert f"{pacing.LONGEST_PAUSE_S / 60:g} minutes at most" in PROSE
    assert (ramp.STEP, pacing.CUT_AT_MOST_EVERY_S) == (0.1, 1.0), "grows by a tenth; at most once a second"
    assert f"at least {ramp.LEAST_BASE:g}/s" in PROSE
    assert f"leave in {session.AHEAD_S:g} s" in PROSE


def test_the_figures_of_a_rate_that_is_shared_are_those_of_the_code():
    assert f"within {1000 * (grants.SLACK_S - grants.WRITE_S):g} ms of it" in PROSE
    assert f"to within {1000 * (grants.SLACK_S - grants.WRITE_S - grants.NARROWEST_S):g} ms" in PROSE
    assert (grants.LONGEST_BLOCK_S, grants.HORIZON_S) == (0.3, 1.0), "a third of a second; cost a second"
    assert f"({grants.MOST_SLOTS} at most)" in PROSE
    assert f"{100 * grants.SLACK_S:g} % of the rate" in PROSE
    assert slots.TOO_SLOW_S == 30, "after half a minute"


def test_the_figures_of_the_breaker_are_those_of_the_code():
    *pauses, last = [f"{pause:g}" for pause in breaker.TRIAL_PAUSES_S]
    assert f"{', '.join(pauses)} and {last} s" in PROSE
    assert len(breaker.TRIAL_PAUSES_S) == 6, "after the sixth failure"
    assert f"{breaker.MIN_ENDED} ended or more" in PROSE
    assert f"{breaker.FAILURES_IN_A_ROW} attempts in a row" in PROSE
    assert f"first {breaker.FREE_REQUESTS} requests" in PROSE
    assert breaker.RETRY_SHARE == 0.25, "more than a quarter"
    assert breaker.UNTRUSTED_IN_A_ROW == 3, "three such failures in a row"
    assert f"from {watches.LOOKED_AT_FROM} on" in PROSE
    assert watches.STRANGERS == 3, "the first three users"


def test_every_fault_of_the_sandbox_is_named():
    assert [name for name in FAULTS if f"`{name.removesuffix('-after')}`" not in PROSE] == []


def test_every_control_of_the_sandbox_is_described():
    rows = {names(setting)[0] for setting, _ in table("setting", "value")}
    assert rows == {*control._PLAIN, *control._SETS, "rate_limit", "faults", "outage"}


def test_every_setting_of_the_sandboxs_faults_is_described():
    fields = set(FaultSettings.__dataclass_fields__)
    (described,) = [value for setting, value in table("setting", "value") if setting == "`faults`"]
    assert set(names(described)) == fields


# ---- links --------------------------------------------------------------------------------------------


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8")))


def slugs(page):
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_of_the_project_and_to_a_heading_in_it(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not heading or heading in slugs(target), link


def test_every_page_is_linked_from_the_first_one():
    linked = {
        (ROOT / link.partition("#")[0]).resolve()
        for link in links(ROOT / "README.md")
        if link.startswith("docs/") and ".md" in link
    }
    assert linked == set(PAGES) - {ROOT / "README.md"}


def test_every_job_to_start_from_is_linked():
    linked = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    jobs = {path for path in (ROOT / "jobs").iterdir() if path.is_file()}
    assert jobs - linked - {ROOT / "jobs" / "demo.yaml"} == set()


def test_the_examples_in_json_are_json():
    for text in names(PROSE):
        if text.startswith('{"'):
            json.loads(text.replace("…", "x"))


# ---- the first page in Chinese ------------------------------------------------------------------------

FIRST = PAGES[0].read_text(encoding="utf-8")


def test_both_first_pages_name_each_other_at_the_top():
    assert "[中文](README.zh-CN.md)" in FIRST.splitlines()[2]
    assert "[English](README.md)" in CHINESE.splitlines()[2]


def test_the_chinese_page_has_the_same_commands_to_type_in_the_same_order():
    assert blocks(CHINESE) == blocks(FIRST)


def test_the_chinese_page_has_the_same_parts():
    levels, theirs = (re.findall(r"^(#+) ", FENCED.sub("", text), re.MULTILINE) for text in (FIRST, CHINESE))
    assert theirs == levels


def test_the_chinese_page_names_the_same_things():
    """Every verb, flag, file and status in backticks, as often as in English, in whatever order."""
    assert sorted(names(FENCED.sub("", CHINESE))) == sorted(names(FENCED.sub("", FIRST)))


def test_the_chinese_page_leads_to_the_same_pages():
    def targets(name):
        return [link.partition("#")[0] for link in links(ROOT / name) if not link.startswith(("#", "README"))]

    assert targets("README.zh-CN.md") == targets("README.md")
    for link in links(ROOT / "README.zh-CN.md"):
        file, _, heading = link.partition("#")
        page = (ROOT / file) if file else ROOT / "README.zh-CN.md"
        assert page.exists()
        assert not heading or heading in slugs(page), link
