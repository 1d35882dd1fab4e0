//! The file of an export: which names it may have, and how it appears whole or not at all.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, tz::TimeZone};
use tempfile::NamedTempFile;

use super::StoreError;
use crate::{
    defaults,
    registry::{ExportRequest, ExportTable},
    time::Wall,
};

/// Unfinished files begin with this. The leading dot keeps them apart from every name that [`checked_name`] lets pass.
const UNFINISHED: &str = ".switchboard-export-";
/// Age at which an unfinished file is taken for the remains of a crash.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The name of the requested file: the given one if it is a plain name, the default one if it is empty.
pub(super) fn checked_name(request: &ExportRequest, zone: &TimeZone) -> Result<String, StoreError> {
    let name = request.file_name.as_str();
    if name.is_empty() {
        return Ok(default_name(request.table, request.now, zone));
    }
    match fault_of(name) {
        None => Ok(name.to_owned()),
        Some(fault) => Err(StoreError::BadFileName { name: name.chars().take(80).collect(), fault }),
    }
}

fn default_name(table: ExportTable, now: Wall, zone: &TimeZone) -> String {
    let (seconds, nanoseconds) = now.split();
    // Every `Wall` is in the range of a `Timestamp`.
    let now = Timestamp::new(seconds, nanoseconds as i32).unwrap_or_default();
    format!("{}_{}.csv", table.as_str(), now.to_zoned(zone.clone()).date())
}

fn fault_of(name: &str) -> Option<&'static str> {
    if name.contains(['/', '\\']) {
        Some("has a path separator")
    } else if name.starts_with('.') {
        Some("starts with a dot")
    } else if name.chars().any(char::is_control) {
        Some("has a control character")
    } else if name.len() > defaults::FILE_NAME_MAX {
        Some("is longer than 255 bytes")
    } else if name.trim() != name {
        Some("starts or ends with a space")
    } else {
        None
    }
}

/// A file being written beside its place. Dropped unfinished, it vanishes.
#[derive(Debug)]
pub(super) struct ExportFile {
    unfinished: NamedTempFile,
    directory: PathBuf,
    path: PathBuf,
    overwrite: bool,
}

impl ExportFile {
    /// Begins the file `name` in `directory`, which is created if it is missing. `name` has passed [`checked_name`].
    pub(super) fn create(directory: &Path, name: &str, overwrite: bool) -> Result<ExportFile, StoreError> {
        fs::create_dir_all(directory).map_err(|error| StoreError::io("create the folder", directory, &error))?;
        let directory =
            fs::canonicalize(directory).map_err(|error| StoreError::io("open the folder", directory, &error))?;
        let path = directory.join(name);
        // Asked again when the file takes its place; asked here to save the work.
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists(path));
        }
        remove_abandoned(&directory);
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            // As for any new file, the umask decides; the crate's own default is for secrets.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&directory)
            .map_err(|error| StoreError::io("create a file in", &directory, &error))?;
        Ok(ExportFile { unfinished, directory, path, overwrite })
    }

    /// Where the file will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, once its content is on the disk. A symbolic link of that name is replaced, never
    /// followed; without `overwrite`, whatever has that name by now stays.
    pub(super) fn finish(self) -> Result<PathBuf, StoreError> {
        let ExportFile { unfinished, directory, path, overwrite } = self;
        let failed = |error: &io::Error| StoreError::io("write", &path, error);
        unfinished.as_file().sync_all().map_err(|error| failed(&error))?;
        let named = if overwrite { unfinished.persist(&path) } else { unfinished.persist_noclobber(&path) };
        match named {
            Ok(_) => {}
            Err(failure) if !overwrite && failure.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Exists(path));
            }
            Err(failure) => return Err(failed(&failure.error)),
        }
        // The name is on the disk only when the folder is.
        File::open(&directory)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| StoreError::io("write the folder", &directory, &error))?;
        Ok(path)
    }
}

impl io::Write for ExportFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unfinished.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unfinished.flush()
    }
}

/// Removes what a killed server left unfinished. What cannot be looked at or removed is somebody else's trouble.
fn remove_abandoned(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if ours && entry.metadata().is_ok_and(|data| data.is_file() && is_abandoned(data.modified())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(modified: io::Result<SystemTime>) -> bool {
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED_AFTER))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::Component};

    use proptest::prelude::*;

    use super::*;

    fn request(file_name: &str) -> ExportRequest {
        ExportRequest {
            table: ExportTable::Clients,
            file_name: file_name.to_owned(),
            start: None,
            end: None,
            overwrite: false,
            now: Wall(1_767_225_000_000_000_000), // 2025-12-31T23:50:00Z
        }
    }

    fn check(name: &str) -> Result<String, StoreError> {
        checked_name(&request(name), &TimeZone::UTC)
    }

    #[test]
    fn the_default_name_has_the_local_date() {
        assert_eq!(check("").unwrap(), "clients_2025-12-31.csv");
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(checked_name(&request(""), &berlin).unwrap(), "clients_2026-01-01.csv");
    }

    #[test]
    fn names_that_lead_elsewhere_or_hide_are_refused_with_the_reason() {
        let long = "x".repeat(256);
        for (name, fault) in [
            ("../x.csv", "path separator"),
            ("/etc/passwd", "path separator"),
            ("a/b.csv", "path separator"),
            ("..\\x.csv", "path separator"),
            ("..", "starts with a dot"),
            (".", "starts with a dot"),
            (".bashrc", "starts with a dot"),
            ("a\0.csv", "control character"),
            ("a\nb.csv", "control character"),
            ("a\u{85}.csv", "control character"),
            (" a.csv", "a space"),
            (&long, "longer than 255"),
        ] {
            let message = check(name).unwrap_err().to_string();
            assert!(message.contains(fault) && message.contains("plain name"), "{name:?}: {message}");
            assert!(message.len() < 400);
        }
        for name in ["a.csv", "fleet 2026.csv", "ärger.csv", "a..b", "-", "~", &"x".repeat(255)] {
            assert_eq!(check(name).unwrap(), name);
        }
    }

    fn write(directory: &Path, name: &str, overwrite: bool, text: &str) -> Result<PathBuf, StoreError> {
        let mut file = ExportFile::create(directory, name, overwrite)?;
        file.write_all(text.as_bytes()).unwrap();
        file.finish()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_existing_file_is_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("made/on/the/way");
        let path = write(&directory, "a.csv", false, "first").unwrap();
        assert_eq!(write(&directory, "a.csv", false, "second"), Err(StoreError::Exists(path.clone())));
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        write(&directory, "a.csv", true, "third").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(names(&directory), ["a.csv"]);
    }

    #[test]
    fn a_file_that_appears_while_the_export_runs_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = ExportFile::create(folder.path(), "a.csv", false).unwrap();
        file.write_all(b"late").unwrap();
        fs::write(folder.path().join("a.csv"), "early").unwrap();
        assert!(matches!(file.finish(), Err(StoreError::Exists(_))));
        assert_eq!(fs::read_to_string(folder.path().join("a.csv")).unwrap(), "early");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn a_symbolic_link_is_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("exports"), folder.path().join("precious"));
        fs::create_dir(&inside).unwrap();
        fs::write(&outside, "precious").unwrap();
        for (link, target) in [("a.csv", outside.as_path()), ("b.csv", Path::new("../not-there"))] {
            std::os::unix::fs::symlink(target, inside.join(link)).unwrap();
            assert!(matches!(write(&inside, link, false, "rows"), Err(StoreError::Exists(_))));
            let path = write(&inside, link, true, "rows").unwrap();
            assert!(path.symlink_metadata().unwrap().is_file());
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
        assert_eq!(names(folder.path()), ["exports", "precious"]);
    }

    #[test]
    fn a_folder_of_that_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a.csv")).unwrap();
        let message = write(folder.path(), "a.csv", true, "rows").unwrap_err().to_string();
        assert!(message.contains("something else has that name"), "{message}");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn an_export_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = ExportFile::create(folder.path(), "a.csv", false).unwrap();
        file.write_all(b"half of it").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_a_killed_server_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * ABANDONED_AFTER;
        for (name, time) in
            [(".switchboard-export-old", old), ("a.csv", old), (".switchboard-export-new", SystemTime::now())]
        {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(time).unwrap();
        }
        write(folder.path(), "b.csv", false, "rows").unwrap();
        assert_eq!(names(folder.path()), [".switchboard-export-new", "a.csv", "b.csv"]);
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_plain_component(name in "[./\\\\a\u{0}\u{7f}\n\u{e4} ~-]{1,12}|\\PC{1,300}|.{1,20}") {
            if let Ok(accepted) = check(&name) {
                let components: Vec<Component<'_>> = Path::new(&accepted).components().collect();
                prop_assert_eq!(components, vec![Component::Normal(accepted.as_ref())]);
                prop_assert!(accepted.len() <= 255 && !accepted.starts_with(UNFINISHED));
            }
        }

        #[test]
        fn a_written_file_is_in_the_folder_under_its_name(name in "[./\\\\ab\u{e4} ~-]{1,8}") {
            let folder = tempfile::tempdir().unwrap();
            let inside = folder.path().join("exports");
            if let Ok(accepted) = check(&name) {
                write(&inside, &accepted, false, "rows").unwrap();
                prop_assert_eq!(names(&inside), vec![accepted]);
                prop_assert_eq!(names(folder.path()), vec!["exports".to_owned()]);
            }
        }
    }
}
