//! The pages of the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// A page in Markdown.
#[derive(Debug, Clone)]
pub struct Page {
    /// Relative to the checkout: `docs/xen.md`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl Page {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        top().join(&self.name)
    }
}

/// The checkout.
///
/// # Panics
/// When it is not where it was when this was built.
#[must_use]
pub fn top() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", top.display()))
}

/// Every page of the tree, by name; what others wrote and what cargo made is left out.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn pages() -> Vec<Page> {
    let top = top();
    let mut pages = Vec::new();
    collect(&top, &top, &mut pages);
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(pages.iter().any(|page| page.name == "tests/xen/README.md"), "not all pages were found");
    pages
}

fn collect(top: &Path, directory: &Path, pages: &mut Vec<Page>) {
    let unreadable = |path: &Path, error| -> ! { panic!("{}: {error}", path.display()) };
    let entries = fs::read_dir(directory).unwrap_or_else(|error| unreadable(directory, error));
    for path in entries.map_while(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !matches!(&*name, "target" | "vendor") && !name.starts_with('.') {
                collect(top, &path, pages);
            }
        } else if name.ends_with(".md") {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| unreadable(&path, error));
            let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            pages.push(Page { name, text });
        }
    }
}
