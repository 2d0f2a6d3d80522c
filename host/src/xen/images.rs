//! The kernel and the root of each qube.

use super::{XenSettings, guest};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Roots made for this run, one for each base.
#[derive(Debug)]
pub(super) struct Images {
    settings: XenSettings,
    directory: PathBuf,
    /// What comes after each base.
    ours: Vec<u8>,
    made: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Images {
    /// Images in `directory`, which exists. `executable` answers to all of `programs`.
    pub(super) fn new(
        settings: XenSettings,
        directory: PathBuf,
        executable: &Path,
        programs: &[String],
        services: &[(String, String)],
        environment: &[(String, String)],
    ) -> io::Result<Self> {
        let executable = fs::read(executable).map_err(at(executable))?;
        let ours = guest::archive(&executable, programs, services, environment);
        Ok(Self { settings, directory, ours, made: Mutex::new(BTreeMap::new()) })
    }

    pub(super) const fn settings(&self) -> &XenSettings {
        &self.settings
    }

    /// The volume `name` of the first of `places` that has it, else the machine's.
    pub(super) fn kernel(&self, places: &[PathBuf]) -> PathBuf {
        volume(places, "kernel").unwrap_or_else(|| self.settings.kernel.clone())
    }

    /// The root of a qube whose volumes are in the first of `places` that has them.
    pub(super) fn root(&self, places: &[PathBuf]) -> io::Result<PathBuf> {
        let base = volume(places, "initramfs").unwrap_or_else(|| self.settings.initramfs.clone());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = made.get(&base) {
            return Ok(path.clone());
        }
        let path = self.directory.join(format!("root-{}.cpio", made.len()));
        self.make(&base, &path)?;
        made.insert(base, path.clone());
        Ok(path)
    }

    fn make(&self, base: &Path, path: &Path) -> io::Result<()> {
        let mut from = File::open(base).map_err(at(base))?;
        let mut to = File::create(path).map_err(at(path))?;
        let length = io::copy(&mut from, &mut to).map_err(at(path))?;
        let gap = usize::try_from(length.next_multiple_of(4) - length).unwrap_or(0);
        to.write_all([0; 4].get(..gap).unwrap_or_default()).map_err(at(path))?;
        to.write_all(&self.ours).map_err(at(path))
    }
}

fn volume(places: &[PathBuf], name: &str) -> Option<PathBuf> {
    places.iter().map(|place| place.join("volumes").join(name)).find(|path| path.is_file())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_may_have_volumes_of_its_own_and_each_root_is_made_once() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        fs::write(path("program"), "ELF").unwrap();
        fs::write(path("base"), "base!").unwrap();
        fs::create_dir_all(path("template/volumes")).unwrap();
        fs::write(path("template/volumes/initramfs"), "own").unwrap();
        let settings =
            XenSettings { kernel: path("kernel"), initramfs: path("base"), memory: 1, words: String::new() };
        let images = Images::new(settings, top.path().to_owned(), &path("program"), &[], &[], &[]).unwrap();
        let common = images.root(&[path("none")]).unwrap();
        assert!(fs::read(&common).unwrap().starts_with(b"base!\0\0\x00070701"));
        assert_eq!(images.root(&[]).unwrap(), common);
        let own = images.root(&[path("template")]).unwrap();
        assert!(own != common && fs::read(own).unwrap().starts_with(b"own\x00070701"));
        assert_eq!(images.kernel(&[path("template")]), path("kernel"));
    }
}
