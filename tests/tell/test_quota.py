"""A robot's rate limit holds over processes: what was sent of late stands in a file."""

from runner.tell.quota import take_turn

ADDRESS = "https://robot.example/send?key=s3cret"


def test_a_message_waits_until_the_oldest_has_left_the_window(tmp_path):
    limits = ((2, 60.0),)
    assert [take_turn(tmp_path, ADDRESS, limits, at) for at in (100.0, 110.0)] == [0.0, 0.0]
    assert take_turn(tmp_path, ADDRESS, limits, 120.0) == 40.0
    assert take_turn(tmp_path, ADDRESS, limits, 160.0) == 0.0, "a wait is no message"


def test_the_narrower_of_two_limits_counts(tmp_path):
    limits = ((2, 1.0), (3, 60.0))
    assert [take_turn(tmp_path, ADDRESS, limits, at) for at in (0.0, 0.5, 0.75, 1.25)] == [0, 0, 0.25, 0]
    assert take_turn(tmp_path, ADDRESS, limits, 3.0) == 57.0


def test_another_robot_has_its_own(tmp_path):
    for address in ("a", "b"):
        assert take_turn(tmp_path, address, ((1, 60.0),), 1.0) == 0.0


def test_a_file_that_a_crash_left_half_written_says_nothing(tmp_path):
    take_turn(tmp_path, ADDRESS, ((1, 60.0),), 1.0)
    (kept,) = tmp_path.iterdir()
    kept.write_text("[1.0, ")
    assert take_turn(tmp_path, ADDRESS, ((1, 60.0),), 1.0) == 0.0
    assert "s3cret" not in kept.name + kept.read_text()


def test_a_clock_that_was_set_back_does_not_close_the_door(tmp_path):
    limits = ((1, 60.0),)
    take_turn(tmp_path, ADDRESS, limits, 1000.0)
    assert take_turn(tmp_path, ADDRESS, limits, 500.0) == 0.0
