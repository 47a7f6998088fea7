//! What decoding costs in memory: the content of sessions, by far the most of every page, is passed over and not kept.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use agent_session_exporter::domain::{Fact, Timestamp};
use agent_session_exporter::ingest::platforms::{everruns, hcompany};
use bytes::Bytes;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size.saturating_sub(layout.size()));
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(bytes: usize) {
    // A thread that is ending has no counter any more.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + bytes));
}

/// What it comes to, and every byte that was asked for on the way.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    let outcome = black_box(work());
    (outcome, ALLOCATED.get() - before)
}

const MEGABYTE: usize = 1 << 20;

/// An observation with this much text, every tenth character escaped, and this much of a picture.
fn observation(size: usize) -> String {
    let text = r#"words \"in\" q\u00fc\n "#.repeat(size / 24);
    let picture = "iVBORw0KGgo+/".repeat(size / 26);
    format!(
        r#"{{"timestamp":"2026-11-20T14:30:03Z","type":"AgentEvent","data":{{"kind":"observation_event","type":"web","text":"{text}","image":{{"source":"{picture}","type":"base64"}},"metadata":{{"html":"{text}"}}}}}}"#
    )
}

/// A tool's result of that size: nested JSON, after which come the fields that matter.
fn tool_result(size: usize) -> String {
    let result = r#"{"key":[1,2.5,null,"value"]},"#.repeat(size / 30);
    format!(
        r#"{{"timestamp":"2026-11-20T14:30:04Z","type":"AgentEvent","data":{{"kind":"tool_result","result":[{result}0],"tool_req":{{"tool_name":"click","args":{{"text":"{}"}},"id":"xml_0"}}}}}}"#,
        "long ".repeat(size / 5)
    )
}

fn page(events: &[String]) -> Bytes {
    format!(r#"{{"status":"running","first_index":0,"new_events":[{}]}}"#, events.join(",")).into()
}

#[test]
fn the_counter_counts() {
    assert!(counted(|| vec![7u8; MEGABYTE]).1 >= MEGABYTE);
    assert_eq!(counted(|| 7).1, 0);
}

#[test]
fn five_megabytes_of_observation_are_not_copied() {
    for event in [observation(5 * MEGABYTE), tool_result(5 * MEGABYTE)] {
        let body = page(&[event.clone(), event]);
        assert!(body.len() > 10 * MEGABYTE);
        let (page, allocated) = counted(|| hcompany::changes(&body, Timestamp::default()).unwrap());
        assert!(page.events.iter().all(|event| matches!(event.fact, Fact::Observed | Fact::ToolEnded { .. })));
        println!("{} bytes decoded with {allocated} bytes allocated", body.len());
        assert!(allocated < MEGABYTE, "{allocated} bytes for a body of {}", body.len());
    }
}

#[test]
fn a_page_of_many_events_costs_little_more_than_its_facts() {
    let body = page(&vec![observation(1000); 500]);
    let (page, allocated) = counted(|| hcompany::changes(&body, Timestamp::default()).unwrap());
    assert_eq!(page.events.len(), 500);
    println!("{} bytes in 500 events decoded with {allocated} bytes allocated", body.len());
    assert!(allocated < 256 << 10, "{allocated} bytes");
}

/// A model call with a prompt of that size, before what it says of itself and after it.
fn generation(size: usize, sequence: u32) -> String {
    let words = r#"words \"in\" q\u00fc\n "#.repeat(size / 48);
    format!(
        r#"{{"id":"event_{sequence:032x}","type":"llm.generation","ts":"2026-11-20T14:30:03.123456789Z","session_id":"session_1","context":{{}},"data":{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{words}"}}]}}],"tools":[],"metadata":{{"model":"gpt-5-mini","success":true,"usage":{{"input_tokens":58,"output_tokens":17}}}},"request_body":{{"input":"{words}"}}}},"sequence":{sequence}}}"#
    )
}

#[test]
fn a_prompt_of_megabytes_is_skipped_where_it_stands() {
    let events: Vec<String> = (1..=4).map(|sequence| generation(2 * MEGABYTE, sequence)).collect();
    let body = Bytes::from(format!(r#"{{"data":[{}]}}"#, events.join(",")));
    assert!(body.len() > 7 * MEGABYTE);
    let (page, allocated) = counted(|| everruns::events(&body, Timestamp::default()).unwrap());
    assert!(page.0.iter().all(|placed| matches!(placed.event.fact, Fact::ModelCalled(_))) && page.0.len() == 4);
    println!("{} bytes decoded with {allocated} bytes allocated", body.len());
    assert!(allocated < 64 << 10, "{allocated} bytes for a body of {}", body.len());
}
