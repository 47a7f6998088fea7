//! Judges recorded answers: the proof that the judge itself is right, because the platform's own program wrote them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Report;

/// Judges every `events_*.json` with a `data` array in the directories.
///
/// # Errors
/// A directory or a file that cannot be read, or nothing to judge.
pub fn judge(directories: &[&str], report: &mut Report) -> Result<(), String> {
    let mut judged = 0;
    for directory in directories {
        for path in recorded(Path::new(directory))? {
            let shown = path.display();
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{shown}: cannot be read: {e}"))?;
            let body: Value = serde_json::from_str(&text).map_err(|e| format!("{shown}: not JSON: {e}"))?;
            // An answer to a bad question is a problem document: no events in it.
            if let Some(events) = body.get("data").and_then(Value::as_array) {
                judged += 1;
                events.iter().for_each(|event| report.event(event));
            }
        }
    }
    println!("{judged} recorded answers");
    if report.typed.is_empty() {
        Err("nothing recorded there: no events_*.json with events".to_owned())
    } else {
        Ok(())
    }
}

/// The recorded answers of a directory, in the order of their names.
fn recorded(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let problem = |e: std::io::Error| format!("{}: cannot be read: {e}", directory.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(problem)? {
        let path = entry.map_err(problem)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("events_") && name.ends_with(".json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
