//! Single values of arbitrary text: what is read is read the same again, and a pattern means what a slower reading says.

use agent_session_exporter::config::{AgentFilter, BaseUrl, ListenAddress, parse_duration};

/// One input: the first byte says what it is.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind % 4 {
        0 => base_url(text),
        1 => duration(text),
        2 => listen_address(text),
        _ => pattern(text),
    }
}

fn base_url(text: &str) {
    let Ok(url) = BaseUrl::parse(text) else { return };
    assert_eq!(BaseUrl::parse(url.as_str()).as_ref(), Ok(&url), "its own spelling is another address");
    assert!(!url.as_str().ends_with('/') && !url.host().is_empty());
    assert!(!url.as_str().contains(['?', '#']), "queries and fragments are refused");
    let (_, behind) = url.as_str().split_once("://").expect("it has a scheme");
    let authority = behind.split('/').next().expect("it has a first part");
    assert!(!authority.contains('@'), "credentials are refused");
    assert!(authority.starts_with(url.host()), "what is dropped was meant");
    let secured = url.as_str().starts_with("https://");
    assert!(!(secured && url.is_in_the_clear()));
}

fn duration(text: &str) {
    let Ok(duration) = parse_duration(text) else { return };
    let milliseconds = format!("{}ms", duration.as_millis());
    assert_eq!(parse_duration(&milliseconds), Ok(duration));
}

fn listen_address(text: &str) {
    let Ok(address) = ListenAddress::parse(text) else { return };
    assert!(!address.candidates().is_empty());
    assert!(ListenAddress::parse(&address.to_string()).is_ok(), "{address} is not read again");
}

/// A pattern and a name, with a line break between.
fn pattern(text: &str) {
    let Some((pattern, name)) = text.split_once('\n') else { return };
    if pattern.len() + name.len() > 200 {
        return;
    }
    let filter = AgentFilter { allow: vec![pattern.to_owned()], deny: Vec::new() };
    let (letters, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    assert_eq!(filter.admits(&name.iter().collect::<String>()), matches(&letters, &name));
}

/// Whether the pattern matches, by all the ways there are: place by place, for every beginning of the name.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for letter in pattern {
        let mut next = vec![false; name.len() + 1];
        for place in 0..=name.len() {
            next[place] = match letter {
                '*' => reached[..=place].contains(&true),
                letter => place > 0 && reached[place - 1] && name[place - 1] == *letter,
            };
        }
        reached = next;
    }
    reached[name.len()]
}
