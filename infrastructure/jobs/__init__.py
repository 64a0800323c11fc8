"""Background work: requested now, done by whichever process has time for it.

- ``job``: a job is a row. It is requested in any transaction, and shown while it runs and afterwards.
- ``kind``: a kind of job is a function, and how often it is tried.
- ``runner``: takes jobs that are due, runs them, and writes down what came of them.
- ``kinds``: which kinds there are. Each is a file: ``rebuilds``, ``backtests``, ``checkpoints``, ``tidying``.

A new kind is a new file and a line in ``kinds``.

Why no library: procrastinate 3, the one that is PostgreSQL's own and async, was tried. Of a job it stores neither
error, result nor progress. A job whose process was killed stays as it is until a task of one's own retries it, by a
heartbeat's age; here it is taken up as soon as the connection of its runner is gone. Periodic tasks go by cron, not
by a number of seconds. It runs nothing in other processes. And its schema (4 tables, 3 types, 18 functions, 7
triggers, NOTIFY in each transaction that requests a job) would have to be kept in step with ours at each release.
What is left of its work is shorter than that.
"""
