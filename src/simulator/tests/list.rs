//! The rules of the list of sessions and of errors.

use std::collections::HashSet;

use super::{END, EPOCH, KEY, array, ask, busy, get, json, rows, seconds, text, world};
use crate::simulator::script::Status;
use crate::simulator::{Dialect, FaultPlan, Request, SERVER_NAME, SimulateOptions, respond};

#[test]
fn pages_partition_the_list_and_echo_no_size() {
    let world = world(busy());
    let all = rows(&world, END, "");
    let ids: HashSet<String> = all.iter().map(|row| text(&row["id"])).collect();
    assert_eq!(ids.len(), all.len());
    let page = get(&world, END, "/api/v2/sessions");
    assert_eq!((array(&page["items"]).len(), page["page"].as_u64()), (10, Some(1)));
    assert_eq!(page.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(array(&page["items"])[0], all[0]);
    let past = get(&world, END, "/api/v2/sessions?page=1000");
    assert_eq!((array(&past["items"]).len(), past["total"].as_u64()), (0, Some(all.len() as u64)));
    assert_eq!(past["page"], 1000);
    get(&world, END, "/api/v2/sessions?page=9223372036854775807&size=100");
}

#[test]
fn newest_first_unless_asked_otherwise() {
    let world = world(busy());
    let mut newest_first = rows(&world, END, "");
    let oldest_first = rows(&world, END, "sort=created_at");
    newest_first.reverse();
    assert_eq!(newest_first, oldest_first);
    let times: Vec<String> = oldest_first.iter().map(|row| text(&row["created_at"])).collect();
    assert!(times.is_sorted());
}

#[test]
fn new_sessions_shift_the_pages() {
    let world = world(busy());
    let before = get(&world, seconds(5.0), "/api/v2/sessions?page=2");
    let after = get(&world, seconds(6.0), "/api/v2/sessions?page=2");
    assert_ne!(before["items"][0], after["items"][0]);
    assert!(before["total"].as_u64() < after["total"].as_u64());
}

#[test]
fn time_filters_are_strict() {
    let world = world(busy());
    let all = rows(&world, END, "");
    let middle = &all[all.len() / 2];
    for field in ["created", "finished"] {
        let limit = text(&middle[format!("{field}_at")]);
        let before = rows(&world, END, &format!("{field}_before={limit}"));
        let after = rows(&world, END, &format!("{field}_after={limit}"));
        assert!(!before.contains(middle) && !after.contains(middle), "{field}");
        let same = all.iter().filter(|row| row[format!("{field}_at")] == limit.as_str()).count();
        assert_eq!(before.len() + after.len() + same, all.len(), "{field}");
    }
    let running = rows(&world, seconds(5.0), "finished_after=2000-01-01T00:00:00Z");
    assert!(running.iter().all(|row| row["finished_at"].is_string()));
}

#[test]
fn statuses_are_repeated_under_the_bare_name() {
    let world = world(busy());
    let now = seconds(8.0);
    let all = rows(&world, now, "");
    let wanted = rows(&world, now, "status=running&status=completed");
    let expected: Vec<_> =
        all.iter().filter(|row| row["status"] == "running" || row["status"] == "completed").cloned().collect();
    assert!(!expected.is_empty() && expected.len() < all.len());
    assert_eq!(wanted, expected);
    assert_eq!(rows(&world, now, "status[]=running"), all, "another spelling is ignored");
    let every: Vec<String> = Status::ALL.iter().map(|status| format!("status={}", status.name())).collect();
    assert_eq!(rows(&world, now, &every.join("&")), all);
}

#[test]
fn other_filters() {
    let world = world(SimulateOptions { sessions: 300, ..busy() });
    let all = rows(&world, END, "");
    let catalog = rows(&world, END, "agent=web-price-finder&agent=night-audit");
    assert!(
        !catalog.is_empty()
            && catalog.iter().all(|row| row["agent"] == "web-price-finder" || row["agent"] == "night-audit")
    );
    assert!(rows(&world, END, "agent=spot-check").is_empty(), "inline agents are not in the catalog");
    assert!(all.iter().any(|row| row["agent"] == "spot-check"));
    let with_children = all.iter().map(|row| text(&row["id"])).find(|id| {
        let status = get(&world, END, &format!("/api/v2/sessions/{id}/status"));
        !array(&status["subagent_session_ids"]).is_empty()
    });
    let parent = with_children.expect("a third of the sessions have subagents");
    for child in rows(&world, END, &format!("parent_session_id={parent}")) {
        let document = get(&world, END, &format!("/api/v2/sessions/{}", text(&child["id"])));
        assert_eq!(document["request"]["parent_session_id"], parent.as_str());
    }
    let group = rows(&world, END, "group_id=trip-planning-003");
    assert!(!group.is_empty() && group.len() < all.len());
    let found = rows(&world, END, "search=HACKER");
    assert!(!found.is_empty() && found.len() < all.len());
    assert!(rows(&world, END, "schedule_id=00000000-0000-4000-8000-000000000000").is_empty());
    assert_eq!(rows(&world, END, "owner=organization&whatever=1"), all);
}

#[test]
fn the_agents_name_may_hold_anything() {
    let world = world(SimulateOptions { sessions: 300, ..busy() });
    let all = rows(&world, END, "");
    assert!(all.iter().any(|row| row["agent"] == "Ops \"night\" \\ shift\nCafé № 7 🚀"));
    assert!(all.iter().any(|row| row["agent"].is_null()));
}

#[test]
fn bad_parameters_are_refused_by_name() {
    let world = world(busy());
    let cases = [
        ("size=101", "query.size: Input should be less than or equal to 100"),
        ("size=0", "query.size: Input should be greater than or equal to 1"),
        ("size=1.5", "query.size: Input should be a valid integer, unable to parse string as an integer"),
        (
            "size=101&page=0",
            "query.page: Input should be greater than or equal to 1; query.size: Input should be less than or equal to 100",
        ),
        ("sort=foo", "query.sort[0]: Input should be 'created_at' or '-created_at'"),
        (
            "owner=all",
            "query.owner: Input should be 'me', 'me-in-organization', 'organization' or 'me-or-organization'",
        ),
        (
            "created_after=2026-11-20T10:00:00+02:00",
            "query.created_after: Input should be a valid datetime or date, unexpected extra characters at the end of the input",
        ),
        ("schedule_id=x", "query.schedule_id: Input should be a valid UUID, invalid character: found `x` at 0"),
    ];
    for (query, message) in cases {
        let response = ask(&world, END, &format!("/api/v2/sessions?{query}"));
        assert_eq!((response.status, json(&response)["message"].as_str()), (422, Some(message)), "{query}");
    }
    let status = json(&ask(&world, END, "/api/v2/sessions?status=running&status=running,idle"));
    assert_eq!(status["detail"][0]["loc"], serde_json::json!(["query", "status", 1]));
    assert_eq!(status["detail"][0]["input"], "running,idle");
}

#[test]
fn paths_methods_and_keys_are_checked() {
    let world = world(busy());
    let mut plan = FaultPlan::new(world.options());
    let unknown = "/api/v2/sessions/00000000-0000-4000-8000-00000000dead";
    assert_eq!(json(&ask(&world, END, unknown))["detail"][0]["type"], "not_found");
    assert_eq!(
        ask(&world, END, &format!("{unknown}/changes?wait_for_seconds=60")).wait,
        None,
        "unknown before waiting"
    );
    assert_eq!(ask(&world, END, "/api/v2/sessions/nope/status").status, 422);
    assert_eq!(ask(&world, END, "/api/v2/elsewhere").status, 404);
    let slash = ask(&world, END, "/api/v2/sessions/?size=5");
    assert_eq!((slash.status, slash.header("location")), (307, Some("/api/v2/sessions?size=5")));
    for method in ["POST", "DELETE", "HEAD"] {
        let request = Request { method: method.to_owned(), ..Request::get("/api/v2/sessions", KEY) };
        let response = respond(&world, &mut plan, END, &request);
        assert_eq!((response.status, response.header("allow")), (405, Some("GET")), "{method}");
    }
    for authorization in [None, Some("Bearer wrong"), Some("hk-simulated"), Some("Basic hk-simulated")] {
        let request =
            Request { authorization: authorization.map(str::to_owned), ..Request::get("/api/v2/sessions", "") };
        let response = respond(&world, &mut plan, END, &request);
        assert_eq!((response.status, &response.body[..]), (401, &br#"{"message":"Unauthorized"}"#[..]));
        assert_eq!(response.header("server"), Some(SERVER_NAME));
    }
}

#[test]
fn deleted_sessions_vanish_everywhere() {
    let world = world(SimulateOptions { delete_after: 3.0, ..busy() });
    let now = seconds(10.0);
    let ended = rows(&world, now, "status=completed");
    let id = text(&ended[0]["id"]);
    let later = now + 3_000_000;
    assert!(
        rows(&world, later, "").iter().all(|row| row["id"] != id.as_str())
            || rows(&world, later, "status=completed").is_empty()
    );
    assert!(rows(&world, END, "").is_empty());
    for path in ["", "/status", "/changes", "/events"] {
        assert_eq!(ask(&world, END, &format!("/api/v2/sessions/{id}{path}")).status, 404);
    }
}

#[test]
fn page_drift_deletes_some_sessions_long_after_their_end() {
    let drifting = world(SimulateOptions { page_drift: true, ..busy() });
    let steady = world(busy());
    assert_eq!(rows(&drifting, EPOCH, "").len(), rows(&steady, EPOCH, "").len());
    let (left, all) = (rows(&drifting, END, "").len(), rows(&steady, END, "").len());
    assert!(left < all && left > all / 2, "{left} of {all}");
}

#[test]
fn the_older_platform_shows_less() {
    let world = world(SimulateOptions { dialect: Dialect::Old, ..busy() });
    let row = &rows(&world, END, "")[0];
    assert!(row.get("last_activity_at").is_none() && row.get("agent_revision").is_none());
    assert_eq!(ask(&world, END, "/api/v2/sessions?status=queued").status, 422);
    let refused = json(&ask(&world, END, "/api/v2/sessions?size=101"));
    assert_eq!(refused["detail"][0]["loc"], serde_json::json!(["query", "size"]));
    assert!(refused.get("message").is_none());
    let unknown = "/api/v2/sessions/00000000-0000-4000-8000-00000000dead";
    assert_eq!(json(&ask(&world, END, unknown)), serde_json::json!({ "detail": "Session not found" }));
    let all = rows(&world, END, "");
    assert_eq!(rows(&world, END, "finished_after=2100-01-01T00:00:00Z"), all);
}
