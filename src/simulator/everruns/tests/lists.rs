//! Lists and single sessions: who may ask, pages, filters, and what each generation lacks.

use serde_json::Value;

use super::{DIALECTS, Dialect, END, EPOCH, KEY, SimulateOptions, World, agents, array, ask, below, busy, events, get};
use super::{
    FaultPlan, Platform, find, pages, respond, respond_again, seconds, sessions, small, speaking, text, world,
};
use crate::simulator::everruns::{EverrunsOptions, Prefix};
use crate::simulator::{OptionsError, Request};

const LIST: &str = "/api/v1/sessions";

fn status_of(world: &World, request: &Request) -> u16 {
    respond_again(world, END, request).status
}

fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| text(&row["id"])).collect()
}

#[test]
fn keys_are_taken_in_three_spellings_and_organizations_must_fit() {
    let (server, binary) = (world(busy()), world(speaking(Dialect::Serve)));
    for (spelling, by_binary) in [(format!("bEARER {KEY}"), 200), (KEY.to_owned(), 401), (format!("ApiKey {KEY}"), 401)]
    {
        let request = Request { authorization: Some(spelling), ..Request::get(LIST, "") };
        assert_eq!((status_of(&server, &request), status_of(&binary, &request)), (200, by_binary));
    }
    for refused in [None, Some("Bearer other".to_owned()), Some(format!("Basic {KEY}"))] {
        let request = Request { authorization: refused, ..Request::get(LIST, "") };
        let refusal = respond_again(&server, END, &request);
        assert_eq!((refusal.status, refusal.header("content-type")), (401, Some("application/problem+json")));
    }
    let own = text(&pages(&server, END, LIST, "")[0]["organization_id"]);
    for (organization, status) in [(own, 200), ("org_0".to_owned(), 403)] {
        let request = Request { organization: Some(organization), ..Request::get(LIST, KEY) };
        assert_eq!(status_of(&server, &request), status);
    }
}

#[test]
fn the_mount_point_is_an_option() {
    for (prefix, api, bare) in [(Prefix::Api, 200, 404), (Prefix::Bare, 404, 200), (Prefix::Both, 200, 200)] {
        let everruns = EverrunsOptions { prefix, ..small() };
        let world = world(SimulateOptions { everruns, ..busy() });
        assert_eq!((ask(&world, END, LIST).status, ask(&world, END, "/v1/sessions").status), (api, bare));
    }
}

#[test]
fn pages_are_newest_first_and_clamped() {
    let world = world(SimulateOptions { children_share: 0.0, ..busy() });
    let all = pages(&world, END, LIST, "include_archived=true");
    assert_eq!(all.len(), 130);
    assert!(all.is_sorted_by(|newer, older| text(&newer["created_at"]) >= text(&older["created_at"])));
    let page = get(&world, END, &format!("{LIST}?limit=500&include_archived=true"));
    assert_eq!(
        (page["limit"].as_u64(), array(&page["data"]).len(), page["total"].as_u64()),
        (Some(100), 100, Some(130))
    );
    assert!(page["next_url"].is_string() && page["prev_url"].is_null());
    let page = get(&world, END, &format!("{LIST}?limit=0"));
    assert_eq!((page["limit"].as_u64(), array(&page["data"]).len()), (Some(0), 0));
    let page = get(&world, END, &format!("{LIST}?offset=1000"));
    assert_eq!(
        (array(&page["data"]).len(), page["offset"].as_u64(), page["limit"].as_u64()),
        (0, Some(1000), Some(20))
    );
    for bad in ["limit=-1", "offset=-1", "limit=many", "offset=1.5", "limit=99999999999"] {
        assert_eq!(ask(&world, END, &format!("{LIST}?{bad}")).status, 400, "{bad}");
    }
    assert!(all.iter().all(|row| row.as_object().unwrap().values().all(|value| !value.is_null())));
}

#[test]
fn deleted_sessions_shift_pages_and_answer_404() {
    let world = world(SimulateOptions { page_drift: true, children_share: 0.0, ..busy() });
    let before = pages(&world, seconds(60.0), LIST, "include_archived=true");
    let after = pages(&world, END, LIST, "include_archived=true");
    assert!(before.len() == 130 && after.len() < 120, "{}", after.len());
    let gone = ids(&before).into_iter().find(|id| !ids(&after).contains(id)).unwrap();
    for path in [format!("{LIST}/{gone}"), format!("{LIST}/{gone}/events")] {
        let refusal = ask(&world, END, &path);
        assert_eq!((refusal.status, refusal.header("content-type")), (404, Some("application/problem+json")));
    }
}

#[test]
fn the_newest_server_filters() {
    let world = world(busy());
    let visible = pages(&world, END, LIST, "");
    let all = pages(&world, END, LIST, "include_archived=true");
    let archived = pages(&world, END, LIST, "archived_only=true");
    assert!(!archived.is_empty() && visible.len() + archived.len() == all.len());
    assert_eq!(
        get(&world, END, &format!("{LIST}/{}", text(&archived[0]["id"])))["archived_at"],
        archived[0]["archived_at"]
    );
    let failed = pages(&world, END, LIST, "status=failed,paused");
    assert!(!failed.is_empty() && failed.iter().all(|row| row["activity"] == "failed" || row["activity"] == "paused"));
    let chats = pages(&world, END, LIST, "source=chat");
    assert!(!chats.is_empty() && chats.iter().all(|row| row["source"] == "chat"));
    let limit = text(&visible[40]["created_at"]);
    let (older, newer) = (
        pages(&world, END, LIST, &format!("created_before={limit}")),
        pages(&world, END, LIST, &format!("created_after={limit}")),
    );
    assert_eq!((older.len() + newer.len(), newer.len()), (visible.len(), 41));
    let recent = pages(&world, seconds(8.0), LIST, "order=last_activity");
    assert!(recent.is_sorted_by(|newer, older| text(&newer["updated_at"]) >= text(&older["updated_at"])));
    assert_ne!(ids(&recent), ids(&pages(&world, seconds(8.0), LIST, "")));
    let agent = text(&visible.iter().find(|row| row["agent_id"].is_string()).unwrap()["agent_id"]);
    assert!(pages(&world, END, LIST, &format!("agent_id={agent}")).iter().all(|row| row["agent_id"] == *agent));
    assert!(pages(&world, END, LIST, "agent_id=agent_none").is_empty());
    assert!(pages(&world, END, LIST, "search=FLAKY").iter().all(|row| text(&row["title"]).contains("flaky")));
    for bad in ["status=active", "source=mail", "order=updated", "created_after=yesterday", "include_archived=1"] {
        assert_eq!(ask(&world, END, &format!("{LIST}?{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn older_servers_ignore_newer_filters() {
    for dialect in [Dialect::D2, Dialect::D3] {
        let world = world(speaking(dialect));
        let all = pages(&world, END, LIST, "");
        for ignored in ["status=nonsense", "archived_only=true", "created_after=2030-01-01T00:00:00Z", "order=x"] {
            assert_eq!(ids(&all), ids(&pages(&world, END, LIST, ignored)), "{ignored}");
        }
        let row = &all[0];
        assert!(row["activity"].is_null() && row["event_count"].is_null() && row["archived_at"].is_null());
        assert_eq!(row["workspace_id"].is_string(), dialect == Dialect::D3);
    }
}

#[test]
fn the_oldest_dialects_list_below_agents() {
    for dialect in [Dialect::D0, Dialect::D1] {
        let world = world(speaking(dialect));
        assert_eq!(sessions(&world, END).len(), 130);
        let refusal = ask(&world, END, "/v1/sessions");
        assert_eq!((refusal.status, refusal.body.is_empty()), (404, dialect == Dialect::D0));
        let agent = text(&agents(&world, END)[0]["id"]);
        let page = get(&world, END, &format!("{}?limit=2", below(&world, &agent)));
        assert_eq!(page["total"].is_null(), dialect == Dialect::D0);
        assert_eq!(array(&page["data"]).len() == 2, dialect == Dialect::D1);
        let row = &array(&page["data"])[0];
        assert_eq!(row["updated_at"].is_null(), dialect == Dialect::D0);
        assert!(row["organization_id"].is_null());
        let id = text(&row["id"]);
        assert_eq!(get(&world, END, &format!("{}/{id}", below(&world, &agent)))["id"], *id);
        let stranger = text(&agents(&world, END)[1]["id"]);
        assert_eq!(ask(&world, END, &format!("{}/{id}", below(&world, &stranger))).status, 404);
        if dialect == Dialect::D0 {
            assert_eq!(id.split('-').count(), 5);
            assert_eq!(ask(&world, END, &format!("{}/nope", below(&world, &agent))).status, 400);
        }
    }
}

#[test]
fn one_status_has_two_spellings() {
    let world = world(SimulateOptions { sessions: 300, children_share: 0.0, ..busy() });
    let rows = pages(&world, END, LIST, "include_archived=true");
    let count = |status: &str| rows.iter().filter(|row| row["status"] == status).count();
    let stats = get(&world, END, "/v1/sessions/stats");
    assert!(count("waitingfortoolresults") > 0 && count("paused") > 0);
    assert_eq!(stats["waiting_for_tool_results"], count("waitingfortoolresults"));
    assert_eq!((stats["total"].as_u64(), &stats["active"]), (Some(330), &count("active").into()));
}

#[test]
fn rows_change_with_turns_and_not_with_events() {
    let world = world(busy());
    let (row, path) = find(&world, |_, events| events.len() > 60);
    let id = text(&row["id"]);
    let moments: std::collections::BTreeSet<String> = (0..2_000)
        .map(|tenth| seconds(f64::from(tenth) * 0.05))
        .filter(|now| ask(&world, *now, &format!("{LIST}/{id}")).status == 200)
        .map(|now| text(&get(&world, now, &format!("{LIST}/{id}"))["updated_at"]))
        .collect();
    assert!((2..30).contains(&moments.len()), "{}", moments.len());
    let stream = events(&world, END, &path);
    assert_eq!(row["event_count"], stream.len());
}

#[test]
fn the_single_binary_has_its_own_document() {
    let world = world(speaking(Dialect::Serve));
    let (row, _) = find(&world, |row, _| row["agent_id"].is_string());
    let document = get(&world, END, &format!("/v1/sessions/{}", text(&row["id"])));
    assert_eq!(document["agent_id"], document["agent_name"]);
    assert!(document["suspension_reason"].is_null() && document["usage"].is_null());
    assert!(pages(&world, EPOCH, LIST, "").iter().all(|row| row["status"] != "started"));
    for (row, _) in sessions(&world, END) {
        let document = get(&world, END, &format!("/v1/sessions/{}", text(&row["id"])));
        assert_eq!(array(&document["pending_approvals"]).is_empty(), row["status"] != "waitingfortoolresults");
    }
}

#[test]
fn faults_speak_the_dialect() {
    for (dialect, media_type) in [(Dialect::D4, "application/problem+json"), (Dialect::D2, "application/json")] {
        let options = SimulateOptions { fault_rate_429: 0.5, fault_rate_5xx: 0.5, ..speaking(dialect) };
        let mut faults = FaultPlan::new(&options);
        let world = world(options);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..60 {
            let response = respond(&world, &mut faults, END, &Request::get(LIST, KEY));
            seen.insert(response.status);
            if matches!(response.status, 429 | 503) {
                assert_eq!(response.header("content-type"), Some(media_type));
                assert!(response.header("retry-after").is_some());
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [429, 500, 502, 503, 504]);
    }
}

#[test]
fn dialects_belong_to_platforms() {
    let options = |dialect| SimulateOptions { dialect, ..SimulateOptions::default() };
    for dialect in DIALECTS {
        assert_eq!(options(dialect).validate_for(Platform::Everruns), Ok(()));
        assert!(options(dialect).validate_for(Platform::HCompany).is_err());
    }
    let refusal: OptionsError = options(Dialect::Old).validate_for(Platform::Everruns).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "--dialect old is not one of everruns, which has current, d0, d1, d2, d3, d4, serve"
    );
}

#[test]
fn rows_are_those_of_the_moment_whatever_was_asked_before() {
    let asked = world(busy());
    for now in [2.0, 9.0, 4.0, 5.5, 5.6, 30.0, 1.0].map(seconds) {
        assert_eq!(pages(&asked, now, LIST, ""), pages(&world(busy()), now, LIST, ""));
    }
}
