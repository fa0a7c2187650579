"""Lengths of time in words."""

from cosmos_cli.durations import duration


def test_times_are_in_units_that_people_use() -> None:
    short = {0.26: "0.3 s", 40: "40 s", 720: "12 min", 12_000: "3 h 20 min", 86_399: "1 d 0 h"}
    long = {187_200: "2 d 4 h", 130 * 86_400: "130 d", 56_301.5 * 3600: "6.4 years"}
    assert {seconds: duration(seconds) for seconds in short | long} == short | long
