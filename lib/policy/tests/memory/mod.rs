//! Policy files that exist only in a test.

use policy::{PolicySource, SourceError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Files by path; directories are the parents of files.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memory(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    pub(crate) fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect())
    }
}

impl PolicySource for Memory {
    fn list(&mut self, directory: &Path) -> Result<Vec<OsString>, SourceError> {
        if !self.0.keys().any(|path| path.starts_with(directory) && path != directory) {
            return Err(SourceError::Absent);
        }
        let here = self.0.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.map(|path| path.file_name().unwrap().to_owned()).collect())
    }

    fn read(&mut self, file: &Path, limit: usize) -> Result<Vec<u8>, SourceError> {
        let bytes = self.0.get(&self.resolve(file)).ok_or(SourceError::Absent)?;
        if bytes.len() > limit { Err(SourceError::TooLarge) } else { Ok(bytes.clone()) }
    }
}
