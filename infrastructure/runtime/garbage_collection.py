"""Python's garbage collector, set for programs that make many small objects and keep few.

By default it looks through the young objects at every 700 new ones, and through all of them, the loaded
modules too, every so often: a batch of commands pays for that again and again and finds nothing.
"""

import gc


def calm() -> None:
    """Leave out what is loaded by now, which stays for good, and look through the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
