"""Settings: what is accepted, which source wins, and how limits and safety rules are written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.settings import (
    Limits,
    LimitsGiven,
    Rate,
    Safety,
    duration_words,
    limits_from_json,
    limits_to_json,
    parse_duration,
    parse_percent,
    parse_rate,
    safety_from_json,
    safety_to_json,
)


@given(
    count=st.one_of(st.integers(1, 9_999_999), st.integers(1, 10**7).map(lambda n: n / 10**6)),
    unit=st.sampled_from("sm"),
)
def test_a_rate_is_shown_as_it_can_be_said_again(count, unit):
    rate = Rate(float(count), 1.0 if unit == "s" else 60.0)
    assert parse_rate(str(rate)) == rate


def test_rates():
    assert parse_rate("20/s") == Rate(20.0, 1.0)
    assert parse_rate("90/m") == Rate(90.0, 60.0)
    assert parse_rate("0.5/s").whole == 1
    assert parse_rate("unlimited").whole is None
    assert str(parse_rate("unlimited")) == "unlimited"


@pytest.mark.parametrize(
    "text",
    [
        "0/s",
        "0.0/m",
        "-1/s",
        "20",
        "20/h",
        "20 /s",
        "1e3/s",
        "nan/s",
        "inf/s",
        "٢/s",
        "20/s\n",
        "",
        "99999999/s",
    ],
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


@given(n=st.integers(1, 999_999_999), unit=st.sampled_from(["", "s", "m", "h", "d"]))
def test_durations(n, unit):
    assert (
        parse_duration(f"{n}{unit}").total_seconds()
        == n * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    )


@pytest.mark.parametrize("text", ["26h", "90s", "2d", "1d", "90m", "1s", "100d"])
def test_a_duration_is_shown_as_people_give_it(text):
    assert duration_words(parse_duration(text).total_seconds()) == text


@pytest.mark.parametrize("text", ["0", "0d", "-1h", "1w", "1.5h", "1 h", "", "4h ", "9999999999s", "１h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_percentages():
    assert parse_percent("5%") == pytest.approx(0.05)
    assert parse_percent("0%") == 0
    assert parse_percent("100%") == 1
    for text in ("101%", "100.1%", "5", "-1%", "5 %", "%", "1000%", "nan%"):
        with pytest.raises(ValueError, match="percentage"):
            parse_percent(text)


@pytest.mark.parametrize(
    "given_",
    [
        {"concurrency": 0},
        {"concurrency": 1025},
        {"timeout_s": 0.0},
        {"timeout_s": 3601.0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"deadline_s": 0.0},
        {"deadline_s": float("inf")},
    ],
)
def test_limits_out_of_bounds_do_not_exist(given_):
    with pytest.raises(ValueError, match="above 0"):
        LimitsGiven(**given_)
    with pytest.raises(ValueError, match="above 0"):
        Limits(**given_)


def test_a_flag_goes_over_the_job_and_that_over_the_default():
    job = LimitsGiven(rate=Rate(5.0), concurrency=4)
    flags = LimitsGiven(concurrency=2)
    assert flags.over(job.over(Limits())) == Limits(rate=Rate(5.0), concurrency=2)


# As they stand in a plan and an audit.

shares = st.integers(0, 10_000).map(lambda n: parse_percent(f"{n / 100:g}%"))  # as jobs give them


@given(
    safety=st.builds(
        Safety,
        max_phones=st.none() | st.integers(1, 10**12),
        max_invalid=shares,
        max_failed=shares,
        max_refused=shares,
        max_growth=st.none() | st.floats(1.01, 10**6),
        max_rows_per_phone=st.integers(1, 10**6),
        stop_when_empty=st.booleans(),
        protect_file=st.none() | st.just("/lists/never.txt"),
    ),
    limits=st.builds(
        LimitsGiven,
        rate=st.none() | st.builds(Rate, st.integers(1, 10**6).map(float), st.sampled_from((1.0, 60.0))),
        concurrency=st.none() | st.integers(1, 1024),
        timeout_s=st.none() | st.floats(0.5, 3600),
        max_attempts=st.none() | st.integers(1, 100),
        deadline_s=st.none() | st.floats(1, 10**6),
    ),
)
def test_limits_and_safety_are_read_as_they_were_written(safety, limits):
    assert safety_from_json(safety_to_json(safety)) == safety
    assert limits_from_json(limits_to_json(limits)) == limits


def test_safety_is_written_in_the_notation_of_a_job():
    assert safety_to_json(Safety()) == {
        "max_phones": None,
        "max_invalid": "1%",
        "max_failed": "5%",
        "max_refused": "10%",
        "max_growth": None,
        "max_rows_per_phone": 20,
        "stop_when_empty": False,
        "protect_file": None,
    }


def test_safety_of_before_a_later_rule_has_its_default_and_lacks_nothing_else():
    written = safety_to_json(Safety(max_refused=0.5, max_growth=2))
    del written["max_refused"], written["max_growth"]
    assert safety_from_json(written) == Safety()
    for rule in written:
        with pytest.raises(KeyError):
            safety_from_json({name: value for name, value in written.items() if name != rule})
