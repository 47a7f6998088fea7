//! Which agents of a source are watched.

/// Allow and deny lists of agent names; `*` stands for any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// When not empty, only these.
    pub allow: Vec<String>,
    /// Never these, even when allowed.
    pub deny: Vec<String>,
}

impl AgentFilter {
    /// Whether sessions of this agent are counted.
    #[must_use]
    pub fn admits(&self, agent: &str) -> bool {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, agent));
        let allowed = self.allow.is_empty() || listed(&self.allow);
        allowed && !listed(&self.deny)
    }
}

/// `*` matches any run of characters, also none; everything else matches itself.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        // No star at all.
        return rest.is_empty();
    };
    // The leftmost place for each piece leaves the most room for those after it.
    for part in parts {
        match rest.find(part) {
            Some(start) => rest = &rest[start + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("checkout", "checkout", true),
            ("checkout", "checkout-2", false),
            ("checkout", "my-checkout", false),
            ("checkout*", "checkout", true),
            ("*-test", "a-test", true),
            ("*-test", "a-test-b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("Case", "case", false),
            ("é*", "ete", false),
            ("é*", "éa", true),
            ("h/web-*", "h/web-surfer", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn deny_wins_and_an_empty_allow_list_admits_everything() {
        let filter = |allow: &[&str], deny: &[&str]| AgentFilter {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
        };
        assert!(filter(&[], &[]).admits("a"));
        assert!(filter(&["a*"], &[]).admits("ab"));
        assert!(!filter(&["a*"], &[]).admits("b"));
        assert!(!filter(&["a*"], &["ab"]).admits("ab"));
        assert!(!filter(&[], &["*-test"]).admits("x-test"));
    }
}
