"""The constants that the stories are told with fit together, so that no test stands on a wrong one."""

from tests.domain.vocabulary import DEEMED, FORMED, SHIP_BY, days, hours


def test_days_and_deadlines_of_the_story_fit_together() -> None:
    assert hours(48) == SHIP_BY - FORMED
    assert days(3) == DEEMED - SHIP_BY
