//! What is said about configurations that cannot be used: everything, each with place and remedy.

use super::*;

#[test]
fn everything_is_reported_at_once() {
    let case = Case::new(include_str!("everything_wrong.yaml"))
        .with("EMPTY", "")
        .with("SHARED_KEY", "hk-0123456789")
        .file("two_lines", "hk-1\nhk-2\n")
        .file("blank", "\n");
    insta::assert_snapshot!(case.error());
}

#[test]
fn shapes_that_do_not_fit() {
    let error = |text: &str| Case::new(text).error();
    let all: Vec<String> = [
        "hcompany\n",
        "- platform: hcompany\n",
        "sources:\n",
        "sources: []\n",
        "sources: {platform: hcompany, api_key: x}\n",
        "sources:\n- hcompany\n-\n",
        "sources:\n- platform: [hcompany]\n  api_key: {a: b}\n  agents: all\n",
        "sources:\n- {platform: hcompany, api_key: x}\nweb:\n",
        "sources:\n- {platform: hcompany, api_key: x, agents: {allow: [['a']], deny: ['']}}\n",
        "sources:\n- {platform: hcompany, api_key: x}\nweb: {listen_address: []}\n",
        "sources:\n- {platform: hcompany, api_key: x}\nsources: []\n",
    ]
    .iter()
    .map(|text| format!("{text}=> {}\n", error(text)))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn broken_yaml_points_at_the_character() {
    let error = |text: &str| Case::new(text).error();
    assert_eq!(
        error("sources:\n  - platform: hcompany\n   api_key: x\n"),
        "exporter.yaml:3:4: while parsing a block collection, did not find expected '-' indicator"
    );
    assert_eq!(
        error("web: {listen_address: [${ADDRESS}]}\n"),
        "exporter.yaml:1:25: while parsing a flow sequence, expected ',' or ']'; \
         inside brackets write \"${NAME}\" with quotes"
    );
}

#[test]
fn nothing_to_watch_says_what_to_do() {
    let error = from_environment(&[]).expect_err("nothing").to_string();
    insta::assert_snapshot!(error);
    let with_file = Case::new("web: {telemetry_path: /m}\n").error();
    assert_eq!(with_file, error);
}

#[test]
fn flags_and_variables_are_named() {
    let mut case = Case::new("storage: {retention: 1h}\n").with("HAI_API_KEY", " ").with("HAI_API_BASE_URL", "agp.eu");
    case.overrides = Overrides {
        listen_addresses: vec![":80".into(), "nonsense".into(), "127.0.0.1:80".into()],
        telemetry_path: Some("/".into()),
        web_config_file: None,
        storage_path: Some("".into()),
        ..Overrides::default()
    };
    insta::assert_snapshot!(case.error());
}

#[test]
fn an_unreadable_file_is_named() {
    let missing = Path::new("/nowhere/exporter.yaml");
    let error = load(Some(missing), &Overrides::default(), &|_| None).expect_err("missing");
    assert_eq!(
        error.to_string(),
        "cannot read /nowhere/exporter.yaml: No such file or directory (os error 2); \
         check the path given as --config.file"
    );
    let large = Case::new(&"#".repeat((1 << 20) + 1)).error();
    assert!(large.contains("larger than 1 MiB"), "{large}");
}

#[test]
fn accounts_are_compared_after_normalizing() {
    let case = Case::new(
        "sources:\n\
         - {name: a, platform: hcompany, api_key: '${KEY}'}\n\
         - {name: b, platform: hcompany, api_key: ' hk-1 ', base_url: 'HTTPS://AGP.EU.hcompany.ai:443/'}\n\
         - {name: c, platform: hcompany, api_key: hk-1, base_url: 'https://agp.hcompany.ai'}\n",
    )
    .with("KEY", "hk-1\n");
    assert_eq!(
        case.error(),
        "exporter.yaml:3: sources[1]: watches the same account as the source on line 2, which \
         would count it twice; keep one of them"
    );
}
