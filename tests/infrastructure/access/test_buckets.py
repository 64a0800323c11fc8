"""Token buckets: nobody gets more than the rate and what is at once, whenever he asks."""

from hypothesis import given
from hypothesis import strategies as st

from domain.access.state import Limits
from infrastructure.access.buckets import Bucket, Buckets


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


asked = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 40)), max_size=50)


@given(st.integers(1, 20), st.integers(1, 40), asked)
def test_no_more_is_taken_than_the_limits_let(per_second: int, at_once: int, asks: list[tuple[float, int]]) -> None:
    hand = Hand()
    bucket = Bucket(Limits(per_second, at_once), hand)
    taken = most = 0
    for pause, units in asks:
        hand.now += pause
        if bucket.take(units):
            taken += units
            most = max(most, units)
        # Who asks for more than fit at once is let through once, and pays for it afterwards.
        assert taken <= at_once + hand.now * per_second + max(0, most - at_once) + 1e-6


@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 100), st.integers(1, 60))
def test_who_waits_as_long_as_told_is_let_in(per_second: int, at_once: int, before: int, units: int) -> None:
    hand = Hand()
    bucket = Bucket(Limits(per_second, at_once), hand)
    bucket.take(before)
    if not bucket.take(units):
        hand.now += bucket.seconds_until(units)
        assert bucket.take(units)


def test_processes_share_the_rate_and_a_bucket_outlives_its_directory() -> None:
    buckets = Buckets(processes=4)
    bucket = buckets.of("shop:1", Limits(1_000, 4_000))
    assert (bucket.per_second, bucket.at_once) == (250, 1_000)
    assert bucket.take(1_000)
    again = buckets.of("shop:1", Limits(1_000, 4_000))
    assert again is bucket
    assert not again.take(900)
    assert buckets.of("shop:1", Limits(4, 8)) is bucket
    assert (bucket.per_second, bucket.at_once) == (1, 2)
    assert buckets.of("client", Limits(1, 1)).take(1), "each has at least one"
