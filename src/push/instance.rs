//! Which exporter this is: an id made once for a storage folder, so that a restart is no new instance.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::client::PushError;

/// Beside the journal.
const FILE: &str = "instance.id";
/// Longer is not what we wrote.
const LONGEST: usize = 128;

/// The id of the exporter on this folder; made and kept if there is none.
pub fn instance_id(folder: &Path) -> Result<String, PushError> {
    let path = folder.join(FILE);
    let failed = |error: io::Error| PushError::Kept { path: path.display().to_string(), error };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim();
            let is_ours = !id.is_empty() && id.len() <= LONGEST && id.chars().all(|c| c.is_ascii_graphic());
            if is_ours {
                Ok(id.to_owned())
            } else {
                Err(failed(io::Error::other("it holds no id; remove it to get a new one")))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = random().map_err(failed)?;
            let unfinished = folder.join(format!("{FILE}.new"));
            // For the exporter's user alone, as all that is beside it.
            let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished);
            file.and_then(|mut file| writeln!(file, "{id}")).map_err(failed)?;
            fs::rename(&unfinished, &path).map_err(failed)?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A random UUID, version 4.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut id = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("writing into memory cannot fail");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let id = instance_id(folder.path()).unwrap();
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4");
        assert_eq!(instance_id(folder.path()).unwrap(), id);
        assert_ne!(instance_id(tempfile::tempdir().unwrap().path()).unwrap(), id);
    }

    #[test]
    fn what_is_no_id_is_said() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in ["", "two words", &"x".repeat(200)] {
            fs::write(folder.path().join(FILE), wrong).unwrap();
            let error = instance_id(folder.path()).unwrap_err().to_string();
            assert!(error.contains("instance.id: it holds no id; remove it"), "{error}");
        }
        assert!(instance_id(&folder.path().join("none")).unwrap_err().to_string().contains("No such file"));
    }
}
