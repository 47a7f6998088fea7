//! A key is planted in every position of a file; no message and no `Debug` output may show it.

use super::*;

const SECRET: &str = "hk-5f3a9c1e77b2";

/// Every key there is, one per line, so that each can be replaced, damaged or removed.
const COMPLETE: &str = "\
sources:
  - name: a
    platform: hcompany
    base_url: https://agp.eu.hcompany.ai
    api_key: ${HAI_API_KEY}
    owner: organization
    agents:
      allow: ['*']
      deny:
        - x
    poll_interval: 15s
    requests_per_second: 10
    concurrency: 8
    request_timeout: 30s
    sweep_interval: 1h
    traces: true
    start: now
storage:
  path: ./data
  retention: 30d
web:
  listen_address: [':17377']
  telemetry_path: /metrics
  new_series_hold: 30s
labels:
  max_series_per_metric: 2000
  max_length: 100
otlp:
  endpoint: http://localhost:4318
  protocol: http/protobuf
  headers: authorization=Bearer ${HAI_API_KEY}
  timeout: 10s
  compression: none
  interval: 60s
  service_name: agents
  resource_attributes: a=b
  self_traces: false
  metrics:
    enabled: true
    endpoint: http://localhost:4318/v1/metrics
    headers: authorization=Bearer ${HAI_API_KEY}
    temporality: cumulative
    histograms: explicit
  traces:
    endpoint: http://localhost:4318/v1/traces
    outbox_limit: 100000
    batch: 512
";

/// What is printed about a file: its problems, or the configuration, in every form there is.
fn printed(text: &str) -> String {
    let case = Case::new(text).with("HAI_API_KEY", SECRET).with("EMPTY", "");
    match case.load() {
        Ok(config) => format!("{config:?}\n{config:#?}"),
        Err(error) => format!("{error}\n{error:?}\n{error:#?}"),
    }
}

fn assert_hidden(text: &str) {
    let printed = printed(text);
    assert!(!printed.contains(SECRET), "{text}\n=> {printed}");
    assert!(!printed.contains("5f3a9c1e"), "{text}\n=> {printed}");
}

/// The file with one line replaced.
fn with_line(index: usize, line: &str) -> String {
    let mut lines: Vec<&str> = COMPLETE.lines().collect();
    lines[index] = line;
    lines.join("\n") + "\n"
}

/// The lines that hold a value, split at the colon or dash before it.
fn value_lines() -> Vec<(usize, &'static str)> {
    COMPLETE
        .lines()
        .enumerate()
        .filter_map(|(index, line)| match line.split_once(": ") {
            Some((key, _)) => Some((index, key)),
            None => line.trim_start().starts_with("- x").then_some((index, "        -")),
        })
        .collect()
}

#[test]
fn the_complete_file_is_valid_and_its_debug_output_hides_the_key() {
    assert!(printed(COMPLETE).contains("REDACTED"));
    assert_hidden(COMPLETE);
}

#[test]
fn in_place_of_every_value() {
    let lines = value_lines();
    assert_eq!(lines.len(), 38, "a line per setting");
    for (index, key) in lines {
        for value in [
            SECRET.to_owned(),
            "${HAI_API_KEY}".to_owned(),
            format!("'{SECRET}'"),
            format!("x-{SECRET}-x"),
            format!("/{SECRET}/x"),
            format!("https://{SECRET}@host"),
            format!("https://host/{SECRET}"),
            format!("[{SECRET}]"),
            format!("{{{SECRET}: {SECRET}}}"),
            format!("[[{SECRET}]]"),
            format!("!!int {SECRET}"),
            format!("!{SECRET} x"),
            format!("*{SECRET}"),
            format!("&{SECRET} {SECRET}"),
            format!("${{{SECRET}}}"),
            format!("${{{SECRET}"),
            format!("${{UNSET_VARIABLE}}{SECRET}"),
            "${HAI_API_KEY}${UNSET_VARIABLE}".to_owned(),
            format!("${{EMPTY:-{SECRET}}}"),
            format!("${{EMPTY:?{SECRET}}}"),
            format!("\"{SECRET}"),
            format!("@{SECRET}"),
            format!("|\n{SECRET}"),
            format!("{SECRET}: {SECRET}"),
            format!("[{SECRET}"),
        ] {
            let separator = if key.ends_with('-') { " " } else { ": " };
            assert_hidden(&with_line(index, &format!("{key}{separator}{value}")));
            if key == "    api_key" {
                // None of them is a program, so nothing is run. What looks like a path is repeated, see below.
                if !value.starts_with('/') {
                    assert_hidden(&with_line(index, &format!("    api_key_command: {value}")));
                }
                assert_hidden(&with_line(index, &format!("    api_key_command: [/bin/echo, {value}]")));
                assert_hidden(&with_line(index, &format!("    api_key_command: [/bin/cat, {value}, x]")));
            }
        }
        assert_hidden(&with_line(index, &format!("{key}:{SECRET}")));
        assert_hidden(&with_line(index, &format!("{key} {SECRET}")));
        assert_hidden(&with_line(index, SECRET));
    }
}

#[test]
fn beside_every_typo() {
    let literal = COMPLETE.replace("${HAI_API_KEY}", SECRET);
    let lines: Vec<&str> = literal.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let typos = [
            line.replacen(':', "", 1),
            line.replacen(':', "x:", 1),
            format!(" {line}"),
            format!("{line}\"["),
            format!("{line}\n{line}"),
            format!("\t{line}"),
            String::new(),
        ];
        for typo in typos {
            let mut damaged = lines.clone();
            damaged[index] = &typo;
            assert_hidden(&(damaged.join("\n") + "\n"));
        }
    }
}

#[test]
fn in_place_of_every_key_of_the_file() {
    for (index, line) in COMPLETE.lines().enumerate() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let indent = &key[..key.len() - key.trim_start().len()];
        assert_hidden(&with_line(index, &format!("{indent}{SECRET}:{value}")));
        assert_hidden(&with_line(index, &format!("{indent}{SECRET}: x\n{line}")));
    }
}

#[test]
fn a_key_in_a_public_setting_is_refused() {
    for (line, refused) in [
        ("  - name: a-${HAI_API_KEY}", "sources[0].name"),
        ("    base_url: https://host/${HAI_API_KEY}", "sources[0].base_url"),
        ("        - ${HAI_API_KEY}", "sources[0].agents.deny[0]"),
        ("  path: ./${HAI_API_KEY}", "storage.path"),
    ] {
        let starts = line.split("${").next().unwrap_or_default();
        let index = COMPLETE
            .lines()
            .position(|known| {
                known.split(':').next() == starts.split(':').next() || known == "        - x" && starts == "        - "
            })
            .expect("a line of the file");
        let error = Case::new(&with_line(index, line)).with("HAI_API_KEY", SECRET).error();
        let expected = format!("exporter.yaml:{}: {refused}: contains an API key", index + 1);
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn in_flags_and_variables() {
    let environment = |variables: &[(&'static str, &str)]| {
        let error = from_environment(variables).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("5f3a9c1e"), "{error}");
    };
    environment(&[("HAI_API_KEY", &format!("{SECRET} {SECRET}"))]);
    environment(&[("HAI_API_KEY", SECRET), ("HAI_API_BASE_URL", SECRET)]);
    let url = format!("https://host/{SECRET}");
    environment(&[("HAI_API_KEY", SECRET), ("HAI_API_BASE_URL", &url)]);

    let mut case = Case::new(COMPLETE).with("HAI_API_KEY", SECRET);
    case.overrides.listen_addresses = vec![SECRET.to_owned()];
    case.overrides.telemetry_path = Some(SECRET.to_owned());
    assert!(!case.error().contains(SECRET));
}

#[test]
fn a_key_file_is_named_only_when_it_looks_like_a_path() {
    let error = |value: &str| {
        let text = with_line(4, &format!("    api_key_file: {value}"));
        Case::new(&text).with("HAI_API_KEY", "hk-1").error()
    };
    assert_eq!(
        error("/run/secrets/hai"),
        "exporter.yaml:5: sources[0].api_key_file: /run/secrets/hai: cannot read the key file: \
         No such file or directory (os error 2)"
    );
    assert_eq!(
        error(SECRET),
        "exporter.yaml:5: sources[0].api_key_file: cannot read the key file: No such file or directory (os error 2)"
    );
}
