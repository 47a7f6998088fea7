//! Whether everybody on the machine can read or change a file: what its mode says, and whether anybody gets that far.
//!
//! The group is not judged, as it is how a package, systemd or Kubernetes (`fsGroup`) gives a file to the exporter's user.
//! Nor is what is mounted as it is and whose mode is not the operator's: file systems in memory, on which Kubernetes,
//! systemd and Docker hand out secrets (Kubernetes with mode 0644), and whatever is a mount of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const READ: u32 = 0o004;
const WRITE: u32 = 0o002;
const REACH: u32 = 0o001;
/// In such a directory nobody takes away what is another's.
const STICKY: u32 = 0o1000;
/// Of the mode, what says who may do what.
const PERMISSIONS: u32 = 0o7777;

/// A file or directory that stands open to everybody on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    mode: u32,
}

impl Open {
    /// As a test needs it.
    #[cfg(test)]
    pub(super) fn with_mode(mode: u32) -> Self {
        Self { mode }
    }

    /// Whether others can change it, not only read it.
    pub(super) fn can_change(&self) -> bool {
        self.mode & WRITE != 0 && self.mode & STICKY == 0
    }

    /// What is said of a file with a secret in it.
    pub(super) fn secret(&self, path: &str) -> String {
        format!(
            "{path} holds a secret, and every user of this machine can read it (mode {:04o}): make the exporter's user \
             or group its owner, then chmod o-rwx {path}",
            self.mode
        )
    }

    /// What is said of a configuration that others can change.
    pub(super) fn configuration(&self, path: &str) -> String {
        format!(
            "every user of this machine can change {path} (mode {:04o}), and so decide what the exporter runs and where \
             keys go: chmod o-rwx {path}",
            self.mode
        )
    }

    /// What is said of a storage folder in which others can exchange the store.
    pub(super) fn store(&self, path: &Path) -> String {
        let path = path.display();
        format!(
            "every user of this machine can exchange what is in {path} (mode {:04o}): chmod o-rwx {path}",
            self.mode
        )
    }
}

/// Looks at a file or directory. `None` where it is not open to everybody, or nobody can tell.
pub(super) fn look(path: &Path) -> Option<Open> {
    let path = fs::canonicalize(path).ok()?;
    let mode = fs::metadata(&path).ok()?.mode() & PERMISSIONS;
    let above: Vec<u32> = path.ancestors().skip(1).map_while(|it| fs::metadata(it).ok()).map(|it| it.mode()).collect();
    // Elsewhere than on Linux there is no such file, and no such mounts.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    judge(mode, &above, mount_of(&path, &mounts).as_ref(), &path)
}

/// A mount: its place, and whether it is in memory.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    at: PathBuf,
    in_memory: bool,
}

fn judge(mode: u32, above: &[u32], mount: Option<&Mount>, path: &Path) -> Option<Open> {
    let is_open = mode & (READ | WRITE) != 0;
    let is_reached = above.iter().all(|mode| mode & REACH != 0);
    let is_handed_out = mount.is_some_and(|mount| mount.in_memory || mount.at == path && path != Path::new("/"));
    (is_open && is_reached && !is_handed_out).then_some(Open { mode })
}

/// The mount that a path is on: the innermost, of several at one place the last.
fn mount_of(path: &Path, mounts: &str) -> Option<Mount> {
    let mounts = mounts.lines().filter_map(mount).filter(|mount| path.starts_with(&mount.at));
    mounts.max_by_key(|mount| mount.at.as_os_str().len())
}

/// A line of `/proc/self/mountinfo`, see proc(5).
fn mount(line: &str) -> Option<Mount> {
    let (before, behind) = line.split_once(" - ")?;
    let at = before.split(' ').nth(4)?;
    let kind = behind.split(' ').next()?;
    Some(Mount { at: unescaped(at).into(), in_memory: matches!(kind, "tmpfs" | "ramfs") })
}

/// Blanks and backslashes are written as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => out.push_str(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw,mode=755
41 22 0:48 / /etc/keys ro,relatime shared:9 - tmpfs tmpfs rw,size=24G
42 22 0:49 / /mnt/a\\040b rw - ext4 /dev/b rw
43 22 254:1 /var/x /run/secrets/one rw,relatime - ext4 /dev/root rw
44 22 0:50 / /data rw,relatime - ext4 /dev/c rw
";

    fn at(path: &str) -> Option<(String, bool)> {
        mount_of(Path::new(path), MOUNTS).map(|mount| (mount.at.display().to_string(), mount.in_memory))
    }

    #[test]
    fn a_path_is_on_its_innermost_mount() {
        for (path, mount, in_memory) in [
            ("/etc/exporter/key", "/", false),
            ("/etc/keys/..2026/key", "/etc/keys", true),
            ("/etc/keys2/key", "/", false),
            ("/run/key", "/run", true),
            ("/run/secrets/one", "/run/secrets/one", false),
            ("/mnt/a b/key", "/mnt/a b", false),
        ] {
            assert_eq!(at(path), Some((mount.to_owned(), in_memory)), "{path}");
        }
        assert_eq!(mount_of(Path::new("/a"), "nonsense\n1 2 - x\n"), None);
    }

    #[test]
    fn only_what_others_reach_on_a_disk_is_open() {
        const WAY: &[u32] = &[0o755, 0o1777, 0o755];
        let judged = |mode, above: &[u32], path: &str| {
            judge(mode, above, mount_of(Path::new(path), MOUNTS).as_ref(), Path::new(path)).is_some()
        };
        for (mode, above, path, open) in [
            (0o644, WAY, "/etc/exporter/key", true),
            (0o604, WAY, "/etc/exporter/key", true),
            (0o602, WAY, "/etc/exporter/key", true),
            (0o640, WAY, "/etc/exporter/key", false),
            (0o660, WAY, "/etc/exporter/key", false),
            (0o601, WAY, "/etc/exporter/key", false),
            // In a home or store of its own.
            (0o644, &[0o700, 0o755, 0o755], "/home/me/key", false),
            (0o644, &[0o755, 0o750, 0o755], "/home/me/keys/key", false),
            // A Secret of Kubernetes, of Docker's swarm, of a compose file.
            (0o644, WAY, "/etc/keys/..2026/key", false),
            (0o444, WAY, "/run/key", false),
            (0o644, WAY, "/run/secrets/one", false),
            // A volume, and what is in it.
            (0o777, WAY, "/data", false),
            (0o777, WAY, "/data/store", true),
        ] {
            assert_eq!(judged(mode, above, path), open, "{mode:o} {above:?} {path}");
        }
    }

    #[test]
    fn others_change_what_they_may_write_and_nobody_guards() {
        for (mode, changes) in [(0o777, true), (0o602, true), (0o1777, false), (0o755, false)] {
            assert_eq!(Open { mode }.can_change(), changes, "{mode:o}");
        }
    }

    #[test]
    fn real_files_are_looked_at_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let (key, link) = (folder.path().join("key"), folder.path().join("link"));
        fs::write(&key, "x").unwrap();
        symlink(&key, &link).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        mode(&key, 0o644);
        mode(folder.path(), 0o700);
        assert_eq!(look(&link), None, "nobody gets there");
        mode(folder.path(), 0o755);
        // Where temporary folders are in memory or nobody else's, nothing is open there.
        let is_judged = look(folder.path()).is_some();
        assert_eq!(look(&link), is_judged.then_some(Open { mode: 0o644 }));
        mode(&key, 0o600);
        assert_eq!(look(&link), None);
        assert_eq!(look(&folder.path().join("none")), None);
    }
}
