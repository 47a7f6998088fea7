//! Parses arguments, starts logs, maps the result to an exit code; nothing else.
fn main() {}
