//! Whether an exporter could keep its store in a directory, found out by looking only: nothing is made, opened or locked.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::journal::FILE_NAME;

/// Why this user could not; some of it only shows when it is tried, such as a full disk.
pub(super) fn usable(folder: &Path) -> Result<(), String> {
    // A relative path begins with nothing, which is here.
    let places = folder.ancestors().map(|place| if place.as_os_str().is_empty() { Path::new(".") } else { place });
    for place in places {
        match place.metadata() {
            Ok(found) if !found.is_dir() => return Err(format!("{} is not a directory", place.display())),
            Ok(_) => {
                may(place, Access::WRITE_OK | Access::EXEC_OK)
                    .map_err(|error| format!("{} cannot be written to: {error}", place.display()))?;
                let file = folder.join(FILE_NAME);
                if place != folder || !file.exists() {
                    return Ok(());
                }
                return may(&file, Access::READ_OK | Access::WRITE_OK)
                    .map_err(|error| format!("{} cannot be read and written: {error}", file.display()));
            }
            // It would be made, in what is above it.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(format!("{} cannot be looked at: {error}", place.display())),
        }
    }
    Err("there is nothing to make it in".to_owned())
}

/// Whether the system would let this process, as which it acts and not as which it was started.
fn may(path: &Path, access: Access) -> std::io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn looking_at_a_place_says_what_would_happen_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [there, below, file] = ["there", "a/b/c", "file"].map(|name| folder.path().join(name));
        std::fs::create_dir(&there).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_eq!(usable(&there), Ok(()));
        assert_eq!(usable(&below), Ok(()));
        assert!(!folder.path().join("a").exists());
        for place in [file.clone(), file.join("data"), file.join("a/b")] {
            assert_eq!(usable(&place), Err(format!("{} is not a directory", file.display())), "{}", place.display());
        }
        assert_eq!(usable(Path::new("somewhere/below")), usable(Path::new(".")));
    }

    #[test]
    fn what_is_told_of_rights_is_what_happens() {
        let folder = tempfile::tempdir().unwrap();
        let locked = folder.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
        // Root may all the same.
        let (said, made) = (usable(&locked.join("data")), std::fs::create_dir(locked.join("data")));
        match made {
            Ok(()) => assert_eq!(said, Ok(())),
            Err(_) => assert!(said.unwrap_err().contains("locked cannot be written to: Permission denied")),
        }
    }
}
