"""Judges a running simulator with the vendor's own packages: the server's models, strictly, and the official client.

    KEY=hk-simulated python validate.py http://127.0.0.1:PORT [--old]

Start the simulator with a finite number of sessions (run.sh does): the last part waits until it has settled and
recounts from the API alone what /_truth claims. With --old only what an older deployment offers is checked.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from decimal import Decimal

import httpx
from agent_api.models import QuotaStatus, Session, SessionSummary
from agent_interface.specs.session import SessionStatus
from agp_types import Page, SessionChanges, TrajectoryStatus
from agp_types.session_events import TypedSessionEvent
from hai_agents import Client
from pydantic import BaseModel, TypeAdapter, ValidationError

PATIENCE_S = 120
TERMINAL = {"completed", "failed", "timed_out", "interrupted"}
# Deliberately outside the vendor's schema: unknown types, an unknown kind, an unknown state.
OPEN_TYPES = {"ChatMessageEvent", "DelayAgentStartEvent", "SomeFutureEvent", "AgentEvent", "ActiveStateChangeEvent"}
typed_event = TypeAdapter(TypedSessionEvent)


class Api:
    """The plain HTTP view of the simulator."""

    def __init__(self, base: str, key: str):
        self.client = httpx.Client(base_url=f"{base}/api/v2", headers={"Authorization": f"Bearer {key}"}, timeout=70)
        self.root = httpx.Client(base_url=base, timeout=70)

    def get(self, path: str, expect: int = 200, **params) -> httpx.Response:
        answer = self.client.get(path, params=params)
        check(answer.status_code == expect, f"{path} {params}: {answer.status_code} instead of {expect}: {answer.text[:200]}")
        check(answer.headers.get("server") == "agent-session-exporter-simulator", f"{path}: no sign that it is simulated")
        check("date" in answer.headers, f"{path}: no date")
        return answer

    def rows(self, **params) -> list[dict]:
        found, page = {}, 1
        while True:
            document = self.get("/sessions", size=100, page=page, **params).json()
            found.update({row["id"]: row for row in document["items"]})
            if page * 100 >= document["total"]:
                return list(found.values())
            page += 1

    def events(self, session: str, step: int = 173) -> list[dict]:
        """Drains /changes the way a client must: by first_index and the length of the batch."""
        collected = []
        while True:
            answer = self.client.get(f"/sessions/{session}/changes", params={"from_index": len(collected), "limit": step})
            if answer.status_code == 204:
                check(not answer.content and answer.headers["etag"] == str(len(collected)), f"{session}: 204 with a body or another etag")
                return collected
            batch = answer.raise_for_status().json()
            check(batch.get("first_index", len(collected)) == len(collected), f"{session}: a gap without eviction")
            check(len(batch["new_events"]) > 0, f"{session}: 200 without events")
            collected += batch["new_events"]


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(f"not valid: {otherwise}")


def complete(model: BaseModel, sent: dict, what: str) -> None:
    """The server's models fill in what is missing; the wire has every field, so a dump must have the same keys throughout."""
    compare_keys(json.loads(model.model_dump_json()), sent, what)


def compare_keys(dumped, sent, what: str) -> None:
    if isinstance(dumped, dict) and isinstance(sent, dict):
        check(set(dumped) == set(sent), f"{what}: fields {sorted(set(dumped) ^ set(sent))} are on one side only")
        for name, value in dumped.items():
            compare_keys(value, sent[name], f"{what}.{name}")
    elif isinstance(dumped, list) and isinstance(sent, list):
        check(len(dumped) == len(sent), f"{what}: lengths")
        for index, value in enumerate(dumped):
            compare_keys(value, sent[index], f"{what}[{index}]")
    elif not (isinstance(dumped, str) and dumped.endswith("Z")):
        check(dumped == sent, f"{what}: {sent} became {dumped}")


def check_session(api: Api, row: dict) -> str:
    """One session's documents against the server's models and against each other."""
    session = row["id"]
    sent = api.get(f"/sessions/{session}")
    document = Session.model_validate_json(sent.content)
    complete(document, sent.json(), f"session {session}")
    sent = api.get(f"/sessions/{session}/status")
    status = SessionStatus.model_validate_json(sent.content)
    complete(status, sent.json(), f"status of {session}")
    check((status.error_code is not None) <= (status.status.value in {"failed", "timed_out"}), f"{session}: error code without failure")
    check(bool(status.pending_tool_calls) == (status.status.value == "awaiting_tool_results"), f"{session}: pending tool calls")
    check(document.status.status.is_terminal == (document.finished_at is not None), f"{session}: finished_at of {document.status.status}")
    answer = api.client.get(f"/sessions/{session}/changes", params={"from_index": 0})
    if answer.status_code == 200:
        complete(SessionChanges.model_validate_json(answer.content), answer.json(), f"changes of {session}")
        bare = api.get(f"/sessions/{session}/changes", from_index=0, include_events=False).json()
        check(bare["new_events"] == [] and bare["metrics"]["steps"] >= answer.json()["metrics"]["steps"], f"{session}: include_events")
    return status.status.value


def check_statuses(api: Api) -> None:
    """Every status must turn up, in the list and in valid documents."""
    missing, deadline = {status.value for status in TrajectoryStatus}, time.monotonic() + PATIENCE_S
    while missing:
        check(time.monotonic() < deadline, f"statuses never seen: {sorted(missing)}")
        for row in api.rows(status=sorted(missing)):
            missing.discard(check_session(api, row))
        time.sleep(0.02)
    page = api.get("/sessions", size=100)
    rows = Page[SessionSummary].model_validate_json(page.content)
    complete(rows, page.json(), "list")
    check([row.created_at for row in rows.items] == sorted((row.created_at for row in rows.items), reverse=True), "newest first")
    for row in page.json()["items"]:
        check_session(api, row)


def check_events(api: Api, rows: list[dict]) -> int:
    """Every event against the typed models; both endpoints must tell the same story."""
    open_events = 0
    for row in rows:
        events = api.events(row["id"])
        times = [event["timestamp"] for event in events]
        check(times == sorted(times, key=lambda text: text.replace("Z", ".000000Z") if "." not in text else text), f"{row['id']}: order")
        for event in events:
            check(set(event) == {"type", "data", "timestamp"}, f"{row['id']}: envelope {event}")
            try:
                typed_event.validate_python(event)
            except ValidationError as error:
                open_events += 1
                check(event["type"] in OPEN_TYPES, f"{row['id']}: {event['type']} is not typed: {error}")
                kind = (event["data"] or {}).get("kind", "step_timings")
                check(event["type"] != "AgentEvent" or kind == "step_timings", f"{row['id']}: {kind}: {error}")
        history, page = [], 1
        while len(history) < (total := (batch := api.get(f"/sessions/{row['id']}/events", size=200, page=page).json())["total"]):
            history += batch["items"]
            page += 1
        check(history[: len(events)] == events and total >= len(events), f"{row['id']}: /events differs from /changes")
        metrics = api.get(f"/sessions/{row['id']}/events", type="MetricsUpdateEvent", sort="-timestamp", size=1).json()
        check(metrics["total"] == sum(event["type"] == "MetricsUpdateEvent" for event in history), f"{row['id']}: filter by type")
    return open_events


def check_children(api: Api) -> int:
    families = 0
    for row in api.rows():
        listed = api.get(f"/sessions/{row['id']}/status").json()["subagent_session_ids"]
        if not listed:
            continue
        families += 1
        children = api.rows(parent_session_id=row["id"])
        check({child["id"] for child in children} == set(listed), f"{row['id']}: children")
        for child in listed:
            document = Session.model_validate_json(api.get(f"/sessions/{child}").content)
            check(document.request.parent_session_id == row["id"], f"{child}: parent")
    check(families > 0, "no session has subagents")
    return families


def check_errors(api: Api) -> None:
    some = api.rows()[0]["id"]
    unknown = "00000000-0000-4000-8000-00000000dead"
    refused = [
        ("/sessions", {"size": 101}), ("/sessions", {"size": 0}), ("/sessions", {"size": "1.5"}), ("/sessions", {"page": 0}),
        ("/sessions", {"status": "bogus"}), ("/sessions", {"status": "running,idle"}), ("/sessions", {"sort": "finished_at"}),
        ("/sessions", {"owner": "all"}), ("/sessions", {"created_after": "yesterday"}), ("/sessions", {"schedule_id": "x"}),
        ("/sessions/nope/status", {}), (f"/sessions/{some}/changes", {"wait_for_seconds": 61}),
        (f"/sessions/{some}/changes", {"limit": -1}), (f"/sessions/{some}/events", {"size": 201}),
        (f"/sessions/{some}/events", {"sort": "created_at"}),
    ]
    for path, params in refused:
        body = api.get(path, expect=422, **params).json()
        check(set(body) == {"message", "detail"} and isinstance(body["detail"], list), f"{path} {params}: {body}")
        check(all({"type", "loc", "msg"} <= set(item) for item in body["detail"]), f"{path} {params}: {body}")
    for path in (f"/sessions/{unknown}", f"/sessions/{unknown}/status", f"/sessions/{unknown}/changes", f"/sessions/{unknown}/events", "/nothing"):
        body = api.get(path, expect=404, wait_for_seconds=5).json()
        check(body["detail"][0]["type"] == "not_found", f"{path}: {body}")
    check(api.get("/sessions/", expect=307).headers["location"].endswith("/api/v2/sessions"), "trailing slash")
    check(api.client.post("/sessions").status_code == 405 and api.client.head("/sessions").status_code == 405, "wrong methods")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "hk-simulated"}):
        answer = api.root.get("/api/v2/sessions", headers=headers)
        check(answer.status_code == 401 and set(answer.json()) == {"message"}, f"{headers}: {answer.status_code} {answer.text}")


def check_official_client(base: str, key: str, api: Api, old: bool) -> None:
    sdk = Client(base_url=base, api_key=key)
    page = sdk.sessions.list_sessions(size=100, status=["completed", "failed"])
    check({row.status for row in page.items} <= {"completed", "failed"}, "the client's status filter")
    for row in page.items[:10]:
        check(sdk.sessions.get_session(row.id).status.status in TERMINAL | {"pending", "running"}, "the client's session")
        status = sdk.sessions.get_session_status(row.id)
        events = sdk.sessions.list_session_events(row.id, size=200)
        check(events.total >= len(list(events.items)), "the client's events")
        changes = sdk.sessions.get_session_changes(row.id, from_index=0)
        if changes is not None:
            check(changes.metrics.steps >= status.steps or old, "the client's changes")
    quota = sdk.sessions.get_session_quota()
    check(quota.available == quota.limit - quota.active, "quota")
    QuotaStatus.model_validate_json(api.get("/sessions/quota").content)
    tokens = sdk.quota.get_token_quota()
    check(tokens.used > 0 and tokens.remaining == tokens.limit - tokens.used and tokens.window_start < tokens.window_end, "token quota")


def wait_until_settled(api: Api) -> dict:
    deadline = time.monotonic() + PATIENCE_S
    while not (truth := api.root.get("/_truth").json())["settled"]:
        check(time.monotonic() < deadline, "the simulator never settles; start it with --sessions")
        time.sleep(0.2)
    check(truth["simulated"] is True and api.root.get("/_simulator").json()["simulated"] is True, "not marked as simulated")
    return truth


def recount(api: Api) -> dict:
    """The account of /_truth, from the API alone."""
    counts = {name: Counter() for name in ("tool_calls", "tool_failures", "outcomes", "status_entries")}
    totals = Counter()
    usage, cost = defaultdict(Counter), Counter()
    final = Counter()
    entries = {"finished": "completed", "stopped": "interrupted", "timed_out": "timed_out"}
    for row in api.rows():
        events, metrics = api.events(row["id"], 10_000), None
        totals.update(sessions=1, events=len(events), restarts=max(0, sum(event["type"] == "RequestStartEvent" for event in events) - 1))
        final[row["status"]] += 1
        for event in events:
            data = event["data"] or {}
            match event["type"], data.get("kind"):
                case "AgentEvent", "policy_event":
                    totals["steps"] += 1
                    counts["tool_calls"].update(call["tool_name"] for call in data["tool_reqs"])
                case "AgentEvent", "error_event" if data["tool_req"]:
                    counts["tool_failures"][data["tool_req"]["tool_name"]] += 1
                case "AgentEvent", "answer_event" if data["outcome"]:
                    counts["outcomes"][data["outcome"]] += 1
                case "AgentStartedEvent", _:
                    counts["status_entries"]["running"] += 1
                case "ActiveStateChangeEvent", _ if data["state"] in {"running", "idle", "awaiting_tool_results"}:
                    counts["status_entries"][data["state"]] += 1
                case "AgentRunStatusChangeEvent", _:
                    counts["status_entries"][data["status"]] += 1
                case "AgentCompletionEvent", _:
                    counts["status_entries"][entries[data["reason"]]] += 1
                case "MetricsUpdateEvent", _:
                    metrics = data["metrics"]
        for model in metrics["cost_per_model"] if metrics else []:
            usage[model["name"]].update({name: model[f"{name}_tokens"] for name in ("input", "cached", "output", "reasoning")})
            if model["total_cost"] is not None:
                cost[model["name"]] += int((Decimal(repr(model["total_cost"])) * 10**9).to_integral_value())
    return {**{name: dict(counter) for name, counter in counts.items()}, **totals,
            "tokens": {model: dict(sums) for model, sums in usage.items()}, "cost_nano_usd": dict(cost), "final": final}


def check_truth(api: Api, truth: dict) -> None:
    counted = recount(api)
    final = counted.pop("final")
    # Sessions that never sent RequestStartEvent make restarts invisible in the stream: the count is a lower bound.
    check(counted.pop("restarts") <= truth["restarts"], "restarts")
    for name, value in counted.items():
        check(value == truth[name], f"truth {name}: {truth[name]}, counted {value}")
    check(sum(truth["finished_by_status"].values()) == sum(final.values()) + truth["restarts"], "endings")
    check(all(truth["finished_by_status"][status] >= number for status, number in final.items()), "endings by status")
    check(truth["active_by_status"] == {}, "active sessions after settling")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("base")
    arguments.add_argument("--old", action="store_true")
    given = arguments.parse_args()
    base, key = given.base.rstrip("/"), os.environ.get("KEY", "hk-simulated")
    api = Api(base, key)
    if given.old:
        check_official_client(base, key, api, old=True)
        row = api.rows()[0]
        check("last_activity_at" not in row and "agent_revision" not in row, "newer fields in a row")
        check("detail" in api.get("/sessions", expect=422, status="queued").json(), "newer statuses")
        check(api.get("/sessions", expect=422, size=101).json()["detail"][0]["loc"] == ["query", "size"], "the size that is refused")
        check(api.get("/sessions/00000000-0000-4000-8000-00000000dead", expect=404).json() == {"detail": "Session not found"}, "404")
        print(f"ok: an older deployment with {len(api.rows())} sessions")
        return
    check_statuses(api)
    check_errors(api)
    check_official_client(base, key, api, old=False)
    truth = wait_until_settled(api)
    rows = api.rows()
    open_events = check_events(api, rows)
    families = check_children(api)
    check_truth(api, truth)
    print(f"ok: {len(rows)} sessions, {truth['events']} events ({open_events} outside the schema on purpose), {families} families")


if __name__ == "__main__":
    main()
