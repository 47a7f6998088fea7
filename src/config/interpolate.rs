//! `${NAME}` and `${NAME:-default}` in the values of a configuration file.
//!
//! It happens after the YAML was read, so quoting makes no difference, a value can never turn into
//! YAML of its own, and the parser never sees what the environment holds.

use super::problem::looks_like_a_name;

/// Replaces every reference in `text`; the error says what to do and repeats no value.
///
/// As in a shell, `:-` also covers a variable that is set but empty. `$${` is a literal `${`.
pub(super) fn interpolate(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        let after = &rest[start + 2..];
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            return Err("`${` is never closed, write ${NAME} or $${ for a literal `${`".into());
        };
        out.push_str(&resolve(&after[..end], env)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The name of the variable, where there is nothing else in `text`.
pub(super) fn only_variable(text: &str) -> Option<String> {
    let reference = text.trim().strip_prefix("${")?.strip_suffix('}')?;
    let (name, _) = reference.split_once(":-").unwrap_or((reference, ""));
    (is_variable_name(name) && looks_like_a_name(name)).then(|| name.to_owned())
}

/// The value of what stands between the braces.
fn resolve(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_variable_name(name) {
        return Err("write ${NAME} or ${NAME:-default}, with a name of letters, digits and _".into());
    }
    let value = env(name);
    if let Some(default) = default {
        return Ok(value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
    }
    value.ok_or_else(|| {
        let shown = if looks_like_a_name(name) {
            format!("the environment variable {name}")
        } else {
            "the environment variable named here".to_owned()
        };
        format!("{shown} is not set; set it, or give a default: ${{NAME:-default}}")
    })
}

fn is_variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("hk-1".into()),
            "NESTED" => Some("${KEY}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn ok(text: &str) -> String {
        interpolate(text, &env).expect("resolves")
    }

    #[test]
    fn what_is_wholly_from_a_variable_is_told_by_its_name() {
        for (text, name) in [
            ("${KEY}", Some("KEY")),
            (" ${KEY:-x} ", Some("KEY")),
            ("Bearer ${KEY}", None),
            ("${KEY}${EMPTY}", None),
            ("$${KEY}", None),
            ("KEY", None),
        ] {
            assert_eq!(only_variable(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn replaces_names_and_defaults() {
        assert_eq!(ok("plain $KEY }"), "plain $KEY }");
        assert_eq!(ok("${KEY}"), "hk-1");
        assert_eq!(ok("a${KEY}b${KEY}c"), "ahk-1bhk-1c");
        assert_eq!(ok("${NONE:-x:y}"), "x:y");
        assert_eq!(ok("${EMPTY:-x}"), "x");
        assert_eq!(ok("${EMPTY}"), "");
        assert_eq!(ok("${NONE:-}"), "");
        assert_eq!(ok("$${KEY} costs $$5"), "${KEY} costs $$5");
    }

    #[test]
    fn values_are_not_read_again() {
        assert_eq!(ok("${NESTED}"), "${KEY}");
    }

    #[test]
    fn says_what_to_do_and_shows_only_what_is_a_name() {
        let error = |text: &str| interpolate(text, &env).expect_err("refused");
        assert_eq!(
            error("${PROD_KEY}"),
            "the environment variable PROD_KEY is not set; set it, or give a default: ${NAME:-default}"
        );
        assert!(!error("${sk5f3a9}").contains("5f3a9"));
        assert!(!error("${hk-5f3a9}").contains("5f3a9"));
        assert!(!error("${hk-5f3a9").contains("5f3a9"));
        assert!(error("${KEY:?why}").contains("${NAME:-default}"));
    }
}
