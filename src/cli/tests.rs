//! What is typed means what the help says, and the help is what it was.

use clap::CommandFactory;

use super::*;
use crate::config::{StorageConfig, WebConfig};

fn parse(line: &str) -> Cli {
    let words = std::iter::once("agent-session-exporter").chain(line.split_whitespace());
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"))
}

/// Help as it looks 100 columns wide and without a terminal.
fn help(command: &str) -> String {
    let mut root = Cli::command().term_width(100);
    root.build();
    let chosen = match command {
        "" => &mut root,
        name => root.find_subcommand_mut(name).expect("a command"),
    };
    chosen.render_long_help().to_string()
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_texts() {
    for command in [
        "",
        "serve",
        "check",
        "demo",
        "simulate",
        "sessions",
        "show",
        "rules",
        "dashboards",
        "healthcheck",
        "completions",
        "man",
        "inspect",
        "verify",
        "compact",
        "export",
        "import",
    ] {
        let name = format!("help_{}", if command.is_empty() { "root" } else { command });
        insta::assert_snapshot!(name, help(command));
    }
}

#[test]
fn help_says_the_real_defaults() {
    let web = WebConfig::default();
    let serve = help("serve");
    assert!(serve.contains(&format!("[default: {}]", web.listen_addresses[0])));
    assert!(serve.contains(&format!("[default: {}]", web.telemetry_path)));
    let path = StorageConfig::default().path;
    assert!(serve.contains(&format!("[default: {}]", path.display())));
}

#[test]
fn serve_takes_its_flags() {
    let cli = parse(
        "serve --config.file=f --web.listen-address=:1 --web.listen-address :2,:3 \
         --web.telemetry-path=/m --storage.path=d --log.level=debug --log.format=json --once",
    );
    let Command::Serve(serve) = cli.command else {
        panic!("serve");
    };
    assert_eq!(serve.config_file, Some("f".into()));
    assert_eq!(serve.listen_addresses, [":1", ":2", ":3"]);
    assert_eq!(serve.telemetry_path.as_deref(), Some("/m"));
    assert_eq!(serve.storage_path, Some("d".into()));
    assert_eq!((serve.log.level, serve.log.format), (LogLevel::Debug, LogFormat::Json));
    assert!(serve.once);
}

#[test]
fn without_flags_the_file_decides() {
    let Command::Serve(serve) = parse("serve").command else {
        panic!("serve");
    };
    assert!(serve.listen_addresses.is_empty() && serve.telemetry_path.is_none());
    assert!(serve.storage_path.is_none() && serve.config_file.is_none() && !serve.once);
    assert_eq!((serve.log.level, serve.log.format), (LogLevel::Info, LogFormat::Text));
}

#[test]
fn the_other_commands_take_theirs() {
    let Command::Sessions(sessions) =
        parse("sessions --status failed --status idle --agent a --since 1h --limit 3").command
    else {
        panic!("sessions");
    };
    assert_eq!(sessions.status, ["failed", "idle"]);
    assert_eq!(sessions.since, Some(Duration::from_secs(3600)));
    assert_eq!(sessions.limit, 3);
    let Command::Show(show) = parse("show id-1 --json --web.url http://h:1").command else {
        panic!("show");
    };
    assert_eq!((show.session_id.as_str(), show.json), ("id-1", true));
    let simulate = parse("simulate --platform hcompany --listen 127.0.0.1:0");
    assert!(matches!(simulate.command, Command::Simulate(_)));
    assert!(matches!(parse("demo --seed 3").command, Command::Demo(DemoArgs { seed: 3, .. })));
    assert!(matches!(parse("check --config.file f").command, Command::Check(_)));
}

#[test]
fn nonsense_is_a_usage_error() {
    for line in [
        "",
        "server",
        "check",
        "sessions --since 1",
        "show",
        "sessions --web.url http://h --storage.path d",
        "rules",
        "rules --out d --grafana-url grafana",
        "completions",
        "completions csh",
        "man --out",
        "rules --out d --runbooks-url https://h/{{x}}",
    ] {
        let words = std::iter::once("agent-session-exporter").chain(line.split_whitespace());
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
