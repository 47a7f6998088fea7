//! The house rules that a compiler does not know, checked on the text of `src/`.
//!
//! Which module may import which (the direction data flows in), how every file opens, how long it
//! may be, and where printing and the wall clock are allowed. Each rule is a function from a file to
//! its violations, with a test of its own that a violating snippet is caught.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What each top-level module may import from the others. Itself is always allowed.
const IMPORTS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("tls", &[]),
    ("connection", &[]),
    ("ingest", &["connection", "domain", "tls"]),
    ("projection", &["domain"]),
    ("journal", &["domain", "projection"]),
    ("engine", &["domain", "journal", "projection"]),
    ("audit", &["domain", "ingest", "journal", "projection"]),
    ("views", &["domain", "projection"]),
    ("witness", &["domain", "engine", "ingest", "journal", "projection", "push", "server", "telemetry"]),
    ("push", &["connection", "domain", "projection", "telemetry", "tls", "views"]),
    ("server", &["domain", "journal", "projection", "telemetry", "views"]),
    ("telemetry", &["domain"]),
    ("simulator", &[]),
    ("config", &["domain", "ingest", "tls"]),
    // `config` for its one duration grammar.
    ("cli", &["config", "simulator"]),
];

/// These wire the others together and may import anything.
const WIRING: &[&str] = &["commands", "lib", "main", "runtime"];

/// A longer file is two files.
const LONGEST_FILE: usize = 600;

const CLOCK: &str = "src/telemetry/clock.rs";

/// One source file, by its path from the root of the project with forward slashes.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The path below `src/` as module names: `src/views/mod.rs` is `views`.
    fn modules(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut parts: Vec<&str> = below.trim_end_matches(".rs").split('/').collect();
        if parts.len() > 1 && parts.last() == Some(&"mod") {
            parts.pop();
        }
        parts
    }

    /// A file that only exists under `#[cfg(test)]`.
    fn is_test(&self) -> bool {
        !self.path.starts_with("src/") || self.modules().contains(&"tests")
    }

    /// Code that runs in production: no comments, no literals, no test modules.
    fn code(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        without_tests(&without_literals(&self.text))
    }
}

/// Every Rust file of the project.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        collect(root, &root.join(folder), &mut found);
    }
    assert!(found.iter().any(|source| source.path == "src/lib.rs"));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("readable text");
            let name = path.strip_prefix(root).expect("below the root");
            let name = name.to_string_lossy().replace('\\', "/");
            found.push(Source { path: name, text });
        }
    }
}

/// Applies one rule to every file and lists all violations at once.
fn enforce(rule: fn(&Source) -> Vec<String>) {
    let violations: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

// ---- the rules ----

fn imports(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let modules = source.modules();
    let module = modules[0];
    if WIRING.contains(&module) {
        return Vec::new();
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: `{module}` has no rule in tests/architecture.rs", source.path)];
    };
    imported(&source.code(), modules.len())
        .into_iter()
        .filter(|name| name != module && !allowed.contains(&name.as_str()))
        .map(|name| format!("{}: `{module}` may not import `{name}`", source.path))
        .collect()
}

fn opening(source: &Source) -> Vec<String> {
    let first = source.text.lines().take_while(|line| line.starts_with("//! "));
    let sentence = first.map(|line| &line[4..]).collect::<Vec<_>>().join(" ");
    if sentence.contains('.') {
        return Vec::new();
    }
    vec![format!("{}: does not open with a `//! sentence.`", source.path)]
}

fn length(source: &Source) -> Vec<String> {
    match source.text.lines().count() {
        0..=LONGEST_FILE => Vec::new(),
        lines => vec![format!("{}: {lines} lines, above {LONGEST_FILE}", source.path)],
    }
}

fn printing(source: &Source) -> Vec<String> {
    if source.path == "src/main.rs" || source.path.starts_with("src/commands/") {
        return Vec::new();
    }
    let code = source.code();
    ["print!", "println!", "eprint!", "eprintln!", "dbg!"]
        .iter()
        .filter(|name| contains_word(&code, name))
        .map(|name| format!("{}: {name} outside main and commands", source.path))
        .collect()
}

fn wall_clock(source: &Source) -> Vec<String> {
    if source.path == CLOCK {
        return Vec::new();
    }
    let code = source.code();
    ["SystemTime::now", "Timestamp::now", "Zoned::now"]
        .iter()
        .filter(|name| contains_word(&code, name))
        .map(|name| format!("{}: {name} outside {CLOCK}", source.path))
        .collect()
}

/// Certificates are verified, always: by what the TLS library does when nobody interferes.
fn interference(source: &Source) -> Vec<String> {
    let code = source.code();
    ["dangerous", "danger_accept", "tls_danger", "ServerCertVerifier", "with_custom_certificate_verifier", "SSL_VERIFY"]
        .iter()
        .filter(|name| code.contains(**name))
        .map(|name| format!("{}: {name} interferes with the verification of certificates", source.path))
        .collect()
}

#[test]
fn verification_of_certificates_is_left_alone() {
    enforce(interference);
}

#[test]
fn modules_import_in_one_direction() {
    enforce(imports);
}

#[test]
fn every_file_opens_with_a_sentence() {
    enforce(opening);
}

#[test]
fn no_file_is_too_long() {
    enforce(length);
}

#[test]
fn only_commands_print() {
    enforce(printing);
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    enforce(wall_clock);
}

// ---- reading Rust, just well enough ----

/// The top-level modules that code names through `crate::` or enough `super::`s.
fn imported(code: &str, depth: usize) -> BTreeSet<String> {
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    // Paths may be broken over lines: `crate :: domain` is the same path.
    let code = code.replace(" ::", "::").replace(":: ", "::");
    let mut names = BTreeSet::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (start, _) in code.match_indices(&root) {
            let before = code[..start].chars().next_back();
            if before.is_some_and(|c| is_word(c) || c == ':') {
                continue;
            }
            names.extend(first_segments(&code[start + root.len()..]));
        }
    }
    names
}

/// `a::b` is `a`; `{a::{b, c}, d}` is `a` and `d`.
fn first_segments(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![path.chars().take_while(|c| is_word(*c)).collect()];
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && is_word(c) => {
                names.push(group[index..].chars().take_while(|c| is_word(*c)).collect());
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

/// Code without the items behind `#[cfg(test)]`; literals must be gone already.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start + MARK.len()..];
        rest = &item[end_of_item(item)..];
    }
    kept + rest
}

/// Where an item ends: at its `;`, or at the brace that closes its first one.
fn end_of_item(item: &str) -> usize {
    let mut depth = 0;
    for (index, c) in item.char_indices() {
        match c {
            ';' if depth == 0 => return index + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return index + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}

/// Code without comments and without what stands in quotes; line breaks are kept.
fn without_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_word = code.chars().next_back().is_some_and(is_word);
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            length
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' && is_char_literal(rest) {
            quoted(rest, '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut index = 0;
    while index < text.len() {
        let rest = &text[index..];
        let step = match (rest.starts_with("/*"), rest.starts_with("*/")) {
            (true, _) => {
                depth += 1;
                2
            }
            (_, true) => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        index += step;
        if depth == 0 {
            return index;
        }
    }
    text.len()
}

/// The length of `r"…"`, `r#"…"#` or `br"…"`, if one begins here.
fn raw_string(text: &str) -> Option<usize> {
    let start = ["r", "br", "cr"].iter().find(|start| {
        let rest = text.strip_prefix(**start).unwrap_or_default();
        rest.trim_start_matches('#').starts_with('"')
    })?;
    let rest = &text[start.len()..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let opened = start.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text[opened..].find(&end)?;
    Some(opened + length + end.len())
}

/// The length of a quoted text in which a backslash hides the next character.
fn quoted(text: &str, quote: char) -> usize {
    let mut hidden = false;
    for (index, c) in text.char_indices().skip(1) {
        if hidden {
            hidden = false;
        } else if c == '\\' {
            hidden = true;
        } else if c == quote {
            return index + 1;
        }
    }
    text.len()
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn contains_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        !before.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

// ---- the rules catch what they are for ----

fn caught(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn forbidden_imports_are_caught() {
    for text in [
        "use crate::engine::Engine;",
        "use crate::{domain::Event, engine};",
        "use crate::{\n    domain::{Event, Usage},\n    engine::{self, Action},\n};",
        "fn f() { crate::engine::run() }",
        "pub(crate) use crate\n    ::engine;",
        "use super::super::engine;",
        "const A: char = '\"'; use crate::engine; const B: char = '\"';",
        "fn f<'a>(x: &'a str) {} use crate::engine; fn g<'a>() {}",
        "#[cfg(test)]\nmod tests { fn f() { \"}\"; } }\nuse crate::engine;",
        "#[cfg(test)]\nmod tests;\nuse crate::engine;",
        "const A: &str = r#\"\"\"#; use crate::engine;",
    ] {
        assert_eq!(caught(imports, "src/views/page.rs", text), 1, "{text}");
    }
    assert_eq!(caught(imports, "src/domain/mod.rs", "use super::config;"), 1);
    assert_eq!(caught(imports, "src/engine.rs", "use super::views;"), 1);
    assert_eq!(caught(imports, "src/simulator/a.rs", "use crate::domain::Event;"), 1);
    assert_eq!(caught(imports, "src/newcomer/mod.rs", ""), 1);
}

#[test]
fn allowed_imports_are_not() {
    for text in [
        "use crate::domain::Event;",
        "use crate::views::other;",
        "use super::engine;",
        "use crate::{domain::{engine, Event}, projection};",
        "// use crate::engine;\n/* crate::engine /* nested */ crate::engine */",
        "//! see [`crate::engine`]",
        "const A: &str = \"crate::engine \\\" crate::engine\";",
        "const A: &str = r#\"\" crate::engine\"#;",
        "#[cfg(test)]\nmod tests {\n use crate::engine;\n fn f() { if true {} }\n}",
        "#[cfg(test)]\nuse crate::engine;",
        "use other_crate::engine;",
    ] {
        assert_eq!(caught(imports, "src/views/page.rs", text), 0, "{text}");
    }
    assert_eq!(caught(imports, "src/views/tests/a.rs", "use crate::engine;"), 0);
    assert_eq!(caught(imports, "src/runtime.rs", "use crate::engine;"), 0);
    assert_eq!(caught(imports, "src/main.rs", "use crate::engine;"), 0);
}

#[test]
fn bad_openings_are_caught() {
    for text in ["", "use std::fs;", "//!\n//! Late.", "//! No sentence", "/// Item."] {
        assert_eq!(caught(opening, "src/a.rs", text), 1, "{text}");
    }
    assert_eq!(caught(opening, "src/a.rs", "//! A sentence over\n//! two lines.\n"), 0);
}

#[test]
fn long_files_are_caught() {
    assert_eq!(caught(length, "src/a.rs", &"\n".repeat(LONGEST_FILE + 1)), 1);
    assert_eq!(caught(length, "src/a.rs", &"\n".repeat(LONGEST_FILE)), 0);
}

#[test]
fn printing_is_caught() {
    for text in ["println!(\"x\")", "eprintln!()", "print!()", "eprint!()", "std::dbg!(x)"] {
        assert_eq!(caught(printing, "src/engine.rs", text), 1, "{text}");
    }
    assert_eq!(caught(printing, "src/main.rs", "println!()"), 0);
    assert_eq!(caught(printing, "src/commands/show.rs", "println!()"), 0);
    assert_eq!(caught(printing, "src/engine.rs", "pretty_println!(); \"println!\""), 0);
    let in_tests = "#[cfg(test)] mod tests { fn f() { println!() } }";
    assert_eq!(caught(printing, "src/engine.rs", in_tests), 0);
}

#[test]
fn interference_is_caught() {
    for text in ["builder.dangerous().with_custom()", "builder.danger_accept_invalid_certs(x)"] {
        assert_eq!(caught(interference, "src/tls.rs", text), 1, "{text}");
    }
    assert_eq!(caught(interference, "src/tls.rs", "builder.with_platform_verifier()? // dangerous"), 0);
}

#[test]
fn other_clocks_are_caught() {
    assert_eq!(caught(wall_clock, "src/engine.rs", "std::time::SystemTime::now()"), 1);
    assert_eq!(caught(wall_clock, "src/engine.rs", "let t = Timestamp::now();"), 1);
    assert_eq!(caught(wall_clock, CLOCK, "SystemTime::now()"), 0);
    assert_eq!(caught(wall_clock, "src/engine.rs", "Instant::now()"), 0);
}
