//! The files that a command line names: none may be written over another.

use std::fs;
use std::path::{Path, PathBuf};

use super::{check_folder, ends_in};
use crate::failure::Failure;

/// A file, and the option that names it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    what: &'static str,
    path: &'a Path,
}

/// The file that an option names, if it is given.
pub fn named<'a>(what: &'static str, path: Option<&'a impl AsRef<Path>>) -> Option<Named<'a>> {
    path.map(|path| Named { what, path: path.as_ref() })
}

/// Whether a path is `-`, standard output.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// [`named`], of an output, unless that is standard output.
pub fn named_output<'a>(what: &'static str, path: Option<&'a PathBuf>) -> Option<Named<'a>> {
    named(what, path.filter(|path| !is_stdout(path)))
}

/// The same of an option that takes numbers too.
pub fn named_text<'a>(what: &'static str, text: Option<&'a String>) -> Option<Named<'a>> {
    named(what, text).filter(|file| file.path.exists())
}

/// Whether outputs have folders to go to, and each is a file of its own.
pub fn check(inputs: &[Option<Named<'_>>], outputs: &[Option<Named<'_>>]) -> Result<(), Failure> {
    let mut before: Vec<Named<'_>> = inputs.iter().flatten().copied().collect();
    for file in outputs.iter().flatten() {
        if let Some(other) = before.iter().find(|other| same(other.path, file.path)) {
            return Err(Failure::usage(format!("{} and {} name the same file", file.what, other.what)));
        }
        check_folder(file.path)?;
        before.push(*file);
    }
    Ok(())
}

/// Whether two paths lead to one file, whatever they are spelt like. What is written to `/dev/null` does not meet there.
fn same(a: &Path, b: &Path) -> bool {
    let (a_place, b_place) = (place(a), place(b));
    if a_place.as_deref() == Some(Path::new("/dev/null")) {
        return false;
    }
    a == b || (a_place.is_some() && a_place == b_place)
}

/// Whether these outputs have names that tensors can be written to. Pipes and devices need no ending.
pub fn check_tensors(outputs: &[Option<Named<'_>>]) -> Result<(), Failure> {
    let nameless = |path: &Path| path.exists() && !path.is_file();
    let is_tensor = |path: &Path| nameless(path) || ends_in(path, "npy") || ends_in(path, "safetensors");
    match outputs.iter().flatten().find(|file| !is_tensor(file.path)) {
        None => Ok(()),
        Some(Named { what, path }) => {
            let path = path.display();
            Err(Failure::usage(format!("{what} {path}: expected a file name that ends in .npy or .safetensors")))
        }
    }
}

/// Where a file is, or would be made: links followed. None if that cannot be told.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(place) = fs::canonicalize(path) {
        return Some(place);
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("o")).unwrap();
        fs::write(at("o/x"), "").unwrap();
        assert!(same(&at("o/x"), &at("o/../o/./x")));
        assert!(same(&at("o/new"), &at("o/../o/new")));
        assert!(!same(&at("o/new"), &at("new")));
        assert!(!same(&at("none/x"), &at("o/x")));
        // The same directory, named from where the program stands.
        assert!(same(Path::new("new.npy"), Path::new("./new.npy")));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("x"), "").unwrap();
        std::os::unix::fs::symlink("x", at("link")).unwrap();
        std::os::unix::fs::symlink(".", at("here")).unwrap();
        assert!(same(&at("link"), &at("x")));
        assert!(same(&at("here/new"), &at("new")));
        // Writing replaces the name.
        fs::hard_link(at("x"), at("hard")).unwrap();
        assert!(!same(&at("hard"), &at("x")));
        assert!(!same(Path::new("/dev/null"), Path::new("/dev/null")));
    }
}
