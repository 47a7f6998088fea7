//! Keys that a command prints: run without a shell, once, and silent about what it said.

use super::*;

fn case(command: &str) -> Case {
    let text = format!("sources:\n- platform: hcompany\n  api_key_command: {command}\n");
    Case::new(&text)
        .file("key", " hk-printed-0123456789\n\n")
        .file("counts.sh", "echo run >> \"$1/runs\"\nprintf hk-counted-\nprintf '%s' \"$2\"\n")
}

#[test]
fn what_a_command_prints_is_the_key() {
    assert_eq!(key(&case("[cat, '${DIR}/key']").config(), 0), "hk-printed-0123456789");
    assert_eq!(key(&case("[printf, '%s', '$HOME;x']").config(), 0), "$HOME;x", "no shell looks at it");
    let block = case("\n  - sh\n  - -c\n  - |\n    printf hk-\n    printf block").config();
    assert_eq!(key(&block, 0), "hk-block");
    // A text is a list of one word, and not a line for a shell.
    let error = case("cat /etc/hostname").error();
    assert!(
        error.contains("exporter.yaml:3: sources[0].api_key_command: the command cannot be run: No such"),
        "{error}"
    );
}

#[test]
fn sources_that_share_a_command_run_it_once() {
    let command = "api_key_command: &command [sh, '${DIR}/counts.sh', '${DIR}', one]";
    let case = Case::new(&format!(
        "sources:\n- {{name: a, platform: hcompany, {command}}}\n- {{name: b, platform: everruns, api_key_command: \
         *command}}\n- {{name: c, platform: everruns, api_key_command: [sh, '${{DIR}}/counts.sh', '${{DIR}}', two]}}\n"
    ))
    .file("counts.sh", "echo run >> \"$1/runs\"\nprintf hk-counted-\nprintf '%s' \"$2\"\n");
    let runs = || fs::read_to_string(case.directory.path().join("runs")).unwrap_or_default().lines().count();
    let config = case.config();
    let keys: Vec<&str> = (0..3).map(|index| key(&config, index)).collect();
    assert_eq!(keys, ["hk-counted-one", "hk-counted-one", "hk-counted-two"]);
    assert_eq!(runs(), 2);
    // Each time that the configuration is read they are asked anew, and files that they read are not watched.
    assert_eq!(case.config().files, config.files);
    assert_eq!(runs(), 4);
    assert_eq!(config.files.len(), 1);
}

#[test]
fn a_command_that_fails_is_told_by_its_place_and_exit_code() {
    for (command, said) in [
        (
            "[sh, -c, 'echo 5ecret; echo 5ecret >&2; exit 7']",
            "sh: the command failed with exit code 7; run it by hand to see why, its output is not repeated here",
        ),
        ("['true']", "true: in what the command printed: the API key is empty"),
        (
            "[echo, '5ecret and more']",
            "echo: in what the command printed: the API key contains a space, a line break or a letter outside ASCII; \
             is it more than the key?",
        ),
        (
            "['${DIR}/5ecret']",
            "the command cannot be run: No such file or directory (os error 2); name a program and \
          its arguments as a list of words, there is no shell",
        ),
        (
            "hk-5ecret-0123",
            "the command cannot be run: No such file or directory (os error 2); name a program and its \
          arguments as a list of words, there is no shell",
        ),
        ("[]", "no command, write a list of words, e.g. [\"vault\", \"kv\", \"get\", ...]"),
        ("['']", "no command, write a list of words, e.g. [\"vault\", \"kv\", \"get\", ...]"),
    ] {
        assert_eq!(case(command).error(), format!("exporter.yaml:3: sources[0].api_key_command: {said}"));
    }
}

#[test]
fn a_key_among_the_words_is_refused_as_everybody_sees_them() {
    let error = case("[echo, hk-5ecret-0123456789]").error();
    assert!(error.contains("sources[0].api_key_command[1]: contains an API key, which would be published"), "{error}");
}

#[test]
fn one_way_to_a_key_is_enough() {
    let with = |more: &str| case(&format!("[cat, '${{DIR}}/key']\n  {more}")).error();
    assert_eq!(
        with("api_key: hk-1"),
        "exporter.yaml:4: sources[0].api_key: both api_key and api_key_command are given, keep one"
    );
    assert_eq!(
        with("api_key: hk-1\n  api_key_file: /etc/key"),
        "exporter.yaml:4: sources[0].api_key: api_key, api_key_file, api_key_command are given, keep one"
    );
}

#[test]
fn where_no_command_may_be_run_none_is() {
    let mut case = case("[sh, '${DIR}/counts.sh', '${DIR}', x]");
    case.overrides.without_commands = true;
    assert_eq!(key(&case.config(), 0), "");
    assert!(!case.directory.path().join("runs").exists());
}
