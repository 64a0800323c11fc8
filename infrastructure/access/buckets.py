"""Token buckets: how much a client, a person or a shop may still ask for, in this process."""

from collections.abc import Callable
from time import monotonic

from domain.access.state import Limits


class Bucket:
    """Fills with units at a rate, up to so many at once. It protects the server; it is no bill."""

    __slots__ = ("_at", "_clock", "_level", "at_once", "per_second")

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self.per_second, self.at_once = limits
        self._clock = clock
        self._level: float = self.at_once
        self._at = clock()

    def take(self, units: int) -> bool:
        """Take units if there are so many. Who asks for more than fit at once gets them from a full bucket."""
        now = self._clock()
        level = self._level + (now - self._at) * self.per_second
        if level > self.at_once:
            level = self.at_once
        self._at = now
        if level < units and level < self.at_once:
            self._level = level
            return False
        self._level = level - units
        return True

    def seconds_until(self, units: int) -> int:
        """How long to wait until there will be so many units, in whole seconds, at least one."""
        missing = min(units, self.at_once) - self._level
        return max(1, -int(-missing // self.per_second))

    def set(self, limits: Limits) -> None:
        """Change the limits; what was taken stays taken."""
        self.per_second, self.at_once = limits
        self._level = min(self._level, self.at_once)


class Buckets:
    """The buckets of a process by whose they are; they outlive the directory that names them."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._buckets: dict[str, Bucket] = {}

    def of(self, whose: str, limits: Limits) -> Bucket:
        """The bucket of a principal or a shop. Several processes share the rate."""
        own = Limits(max(1, limits.per_second // self._processes), max(1, limits.at_once // self._processes))
        bucket = self._buckets.get(whose)
        if bucket is None:
            bucket = self._buckets[whose] = Bucket(own)
        elif (bucket.per_second, bucket.at_once) != own:
            bucket.set(own)
        return bucket
