"""Background work over HTTP and on the command line: shown while it runs and afterwards, stopped, tried again."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import psycopg

from tests.api.command_line import CommandLine
from tests.api.conftest import Api


def until(read: Callable[[], Any], true: Callable[[Any], bool]) -> Any:
    limit = time.monotonic() + 60
    while not true(current := read()):
        assert time.monotonic() < limit, current
        time.sleep(0.05)
    return current


def test_a_rebuild_is_a_job_that_can_be_watched(api: Api) -> None:
    api.placed("260302-1")
    build = api.http.post("/v1/projections/orders/rebuilds").json()
    (job,) = api.http.get("/v1/jobs", params={"kind": "rebuild"}).json()["items"]
    assert (job["kind"], job["key"], job["arguments"]) == ("rebuild", str(build["id"]), {"build_id": build["id"]})
    done = until(lambda: api.http.get(f"/v1/jobs/{job['id']}").json(), lambda current: current["finished_at"])
    assert (done["state"], done["attempts"], done["error"]) == ("done", 1, None)
    assert done["outcome"] == {"state": "ready", "verified": True}
    assert done["done"] == done["total"] == 1 + api.events_of_access()
    assert api.http.get(f"/v1/projections/orders/rebuilds/{build['id']}").json()["state"] == "ready"


def test_a_server_tidies_every_minute(api: Api) -> None:
    (job,) = until(lambda: api.http.get("/v1/jobs").json()["items"], bool)
    assert (job["kind"], job["state"], job["every_seconds"]) == ("tidying", "waiting", 60)


def test_jobs_are_listed_by_page_kind_and_state(api: Api, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for n in range(5):
            connection.execute(
                """INSERT INTO job (kind, key, arguments, state, priority, requested_at, due_at, finished_at)
                   VALUES ('another', %s, '{}', %s, 0, now(), now(), now())""",
                (str(n), "failed" if n == 2 else "done"),
            )
    keys: list[str] = []
    cursor = ""
    while True:
        page = api.http.get(f"/v1/jobs?kind=another&limit=2{cursor}")
        assert len(page.json()["items"]) <= 2
        keys += [job["key"] for job in page.json()["items"]]
        if page.json()["next_cursor"] is None:
            break
        cursor = f"&cursor={page.json()['next_cursor']}"
    assert keys == ["4", "3", "2", "1", "0"]
    (failed,) = api.http.get("/v1/jobs", params={"state": "failed"}).json()["items"]
    assert failed["key"] == "2"


def test_an_invalid_request_is_refused(api: Api) -> None:
    unknown = api.http.get("/v1/jobs/999999")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_job")
    for query in ("state=lost", "cursor=x", "limit=0", "unheard=1"):
        refused = api.http.get(f"/v1/jobs?{query}")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), query


def test_the_command_line_lists_shows_cancels_and_retries(command_line: CommandLine, database_url: str) -> None:
    environment = os.environ | {"SHIPLOCK_DATABASE_URL": database_url}

    def shiplock(*arguments: str, status: int = 0) -> Any:
        done = command_line.run("jobs", *arguments, environment=environment)
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO job (kind, key, shop_id, arguments, state, priority, requested_at, due_at, done, total)
               VALUES ('another', 'its key', '100000001', '{"n": 1}', 'waiting', 0, now(), now(), 5, 1000)"""
        )
    (job,) = shiplock("list", "--json")["items"]
    assert (job["kind"], job["state"], job["arguments"]) == ("another", "waiting", {"n": 1})
    number = str(job["id"])
    output = shiplock("list")
    assert "its key" in output
    assert "5 of 1,000" in output
    output = shiplock("show", number)
    assert "100000001" in output
    assert f"Job {number} is cancelled." in shiplock("cancel", number)
    assert shiplock("show", number, "--json")["state"] == "cancelled"
    assert "is cancelled and can't be cancelled" in shiplock("cancel", number, status=1)
    assert shiplock("list", "--state", "waiting", "--json") == {"items": []}
    assert shiplock("retry", number, "--json")["state"] == "waiting"
    assert "There is no job 999" in shiplock("show", "999", status=1)
