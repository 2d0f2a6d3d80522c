//! Files into a list of rules: order of files and directives (spec/policy.md, sections 1 and 8).

use crate::error::{LoadError, LoadErrorKind as Kind};
use crate::lines::{Word, lines, words};
use crate::rule::{Rule, RuleOrigin, ServiceColumns, WordError};
use crate::source::{PolicySource, SourceError};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where Qubes 4.0 kept its policy; `!compat-4.0` is refused while a file there would have to be read.
pub const LEGACY_DIRECTORY: &str = "/etc/qubes-rpc/policy";

/// All rules in reading order. The cost is linear in the bytes read, which are bounded.
pub(crate) fn load(
    source: &mut dyn PolicySource,
    directories: &[&Path],
    legacy: &Path,
) -> Result<Vec<Rule>, LoadError> {
    let mut loader = Loader { source, legacy, rules: Vec::new(), open: Vec::new(), files: 0, bytes: 0 };
    let mut files: Vec<(OsString, &Path)> = Vec::new();
    for &directory in directories {
        for name in loader.policy_files(directory, None)? {
            files.push((name, directory));
        }
    }
    // A stable sort keeps the order of directories among files of one name; the first hides the others.
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files.dedup_by(|later, first| later.0 == first.0);
    for (name, directory) in files {
        let path = directory.join(name);
        loader.file(&path, &path, &Format::Rules { top: directory }, None)?;
    }
    Ok(loader.rules)
}

struct Loader<'a> {
    source: &'a mut dyn PolicySource,
    legacy: &'a Path,
    rules: Vec<Rule>,
    /// The files being read, outermost first, by resolved path.
    open: Vec<PathBuf>,
    files: usize,
    bytes: usize,
}

/// How a file's lines are read, and where relative paths in it start.
enum Format<'a> {
    Rules { top: &'a Path },
    OldStyle { top: &'a Path, columns: ServiceColumns },
}

/// The line that is being read.
#[derive(Clone, Copy)]
struct Here<'a> {
    file: &'a Arc<Path>,
    line: u32,
    column: u32,
}

impl Here<'_> {
    fn error(self, kind: Kind) -> LoadError {
        LoadError { file: self.file.clone(), line: Some(self.line), column: Some(self.column), kind }
    }
}

fn whole_file(file: &Path, kind: Kind) -> LoadError {
    LoadError { file: file.into(), line: None, column: None, kind }
}

impl Loader<'_> {
    /// The `.policy` files of a directory, sorted by name.
    fn policy_files(&mut self, directory: &Path, here: Option<Here<'_>>) -> Result<Vec<OsString>, LoadError> {
        let mut names = match (self.source.list(directory), here) {
            (Ok(names), _) => names,
            (Err(SourceError::Absent), Some(here)) => {
                return Err(here.error(Kind::NotADirectory(self.source.resolve(directory))));
            }
            (Err(error), _) => return Err(whole_file(directory, unreadable(error))),
        };
        names.retain(|name| name.as_bytes().ends_with(b".policy") && !name.as_bytes().starts_with(b"."));
        names.sort();
        let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(b);
        match names.iter().find(|name| !name.as_bytes().iter().all(allowed)) {
            Some(bad) => Err(whole_file(&directory.join(bad), Kind::BadFileName)),
            None => Ok(names),
        }
    }

    /// Reads the file at `path`, called `shown` in messages. `here` is the line that includes it, if one does.
    fn file(
        &mut self,
        path: &Path,
        shown: &Path,
        format: &Format<'_>,
        here: Option<Here<'_>>,
    ) -> Result<(), LoadError> {
        let fail = |kind| match here {
            Some(here) => Err(here.error(kind)),
            None => Err(whole_file(shown, kind)),
        };
        let resolved = self.source.resolve(path);
        if self.open.contains(&resolved) {
            return fail(Kind::IncludeCycle(resolved));
        }
        self.files += 1;
        if self.open.len() >= DEPTH_LIMIT {
            return fail(Kind::TooMuch("includes are nested deeper than 64 files"));
        }
        if self.files > FILES_LIMIT {
            return fail(Kind::TooMuch("more than 4096 files"));
        }
        let bytes = match (self.source.read(path, BYTES_LIMIT - self.bytes), here) {
            (Ok(bytes), _) => bytes,
            (Err(SourceError::Absent), Some(_)) => return fail(Kind::NotAFile(resolved)),
            (Err(SourceError::TooLarge), _) => return fail(Kind::TooMuch("more than 4 MiB of text")),
            (Err(error), _) => return Err(whole_file(shown, unreadable(error))),
        };
        self.bytes = BYTES_LIMIT.min(self.bytes + bytes.len());
        let text = std::str::from_utf8(&bytes).map_err(|_| whole_file(shown, Kind::NotText))?;
        self.open.push(resolved);
        let file: Arc<Path> = shown.into();
        for (number, line) in (1..).zip(lines(text)) {
            let Some(first) = words(line).first().copied() else { continue };
            if first.text.starts_with('#') {
                continue;
            }
            let here = Here { file: &file, line: number, column: first.column };
            match format {
                Format::Rules { top } => self.line(line, top, here)?,
                Format::OldStyle { top, columns } => self.old_style_line(line, first, top, columns, here)?,
            }
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, line: &str, top: &Path, here: Here<'_>) -> Result<(), LoadError> {
        let words = words(line);
        let at = |word: Word<'_>| Here { column: word.column, ..here };
        match *words.as_slice() {
            [directive, ref rest @ ..] if directive.text.starts_with('!') => match (directive.text, rest) {
                ("!include", &[path]) => self.include(path.text, &Format::Rules { top }, top, at(path)),
                ("!include-dir", &[path]) => self.include_directory(path.text, top, at(path)),
                ("!include-service", &[service, argument, path]) => {
                    let columns =
                        ServiceColumns::parse(service, argument).map_err(|error| place(here, error))?;
                    self.include(path.text, &Format::OldStyle { top, columns }, top, at(path))
                }
                ("!compat-4.0", []) => self.compat(here),
                ("!include", _) => Err(here.error(Kind::DirectiveWords { directive: "!include", needed: 1 })),
                ("!include-dir", _) => {
                    Err(here.error(Kind::DirectiveWords { directive: "!include-dir", needed: 1 }))
                }
                ("!include-service", _) => {
                    Err(here.error(Kind::DirectiveWords { directive: "!include-service", needed: 3 }))
                }
                ("!compat-4.0", _) => {
                    Err(here.error(Kind::DirectiveWords { directive: "!compat-4.0", needed: 0 }))
                }
                (other, _) => Err(here.error(Kind::UnknownDirective(other.to_owned()))),
            },
            ref words => {
                let origin = RuleOrigin { file: here.file.clone(), line: here.line };
                self.rules.push(Rule::parse(words, origin).map_err(|error| place(here, error))?);
                Ok(())
            }
        }
    }

    fn old_style_line(
        &mut self,
        line: &str,
        first: Word<'_>,
        top: &Path,
        columns: &ServiceColumns,
        here: Here<'_>,
    ) -> Result<(), LoadError> {
        let is_directive = first.text.starts_with('!') || first.text.starts_with("$include:");
        // Each replacement keeps the number of characters, so columns stay true.
        let line = line.replace("$include:", "!include ").replace('$', "@").replace(',', " ");
        let words = words(&line);
        if is_directive {
            return match *words.as_slice() {
                [directive, path] if directive.text == "!include" => self.include(
                    path.text,
                    &Format::OldStyle { top, columns: columns.clone() },
                    top,
                    Here { column: path.column, ..here },
                ),
                [directive, ..] if directive.text == "!include" => {
                    Err(here.error(Kind::DirectiveWords { directive: "!include", needed: 1 }))
                }
                _ => {
                    Err(here
                        .error(Kind::UnknownDirective(words.first().map_or("", |word| word.text).to_owned())))
                }
            };
        }
        let origin = RuleOrigin { file: here.file.clone(), line: here.line };
        self.rules.push(Rule::parse_old(columns, &words, origin).map_err(|error| place(here, error))?);
        Ok(())
    }

    fn include(
        &mut self,
        path: &str,
        format: &Format<'_>,
        top: &Path,
        here: Here<'_>,
    ) -> Result<(), LoadError> {
        let path = top.join(path);
        let shown = self.source.resolve(&path);
        self.file(&path, &shown, format, Some(here))
    }

    fn include_directory(&mut self, path: &str, top: &Path, here: Here<'_>) -> Result<(), LoadError> {
        let directory = top.join(path);
        for name in self.policy_files(&directory, Some(here))? {
            let path = directory.join(name);
            let shown = self.source.resolve(&directory).join(path.file_name().unwrap_or_default());
            self.file(&path, &shown, &Format::Rules { top }, Some(here))?;
        }
        Ok(())
    }

    /// `!compat-4.0`: nothing to do while there are no rules of Qubes 4.0, refused otherwise.
    fn compat(&mut self, here: Here<'_>) -> Result<(), LoadError> {
        let directory = self.legacy;
        let names = match self.source.list(directory) {
            Ok(names) => names,
            Err(SourceError::Absent) => return Ok(()),
            Err(error) => return Err(whole_file(directory, unreadable(error))),
        };
        let is_read = |name: &&OsString| {
            let name = name.as_bytes();
            let ignored = [&b".rpmsave"[..], b".rpmnew", b".swp"];
            !name.starts_with(b".")
                && !ignored.iter().any(|suffix| name.ends_with(suffix))
                && name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(b))
        };
        match names.iter().filter(is_read).min() {
            None => Ok(()),
            Some(example) => Err(here.error(Kind::OldPolicy {
                directory: directory.to_owned(),
                example: example.to_string_lossy().into_owned(),
            })),
        }
    }
}

fn place(here: Here<'_>, (column, kind): WordError) -> LoadError {
    Here { column, ..here }.error(kind)
}

fn unreadable(error: SourceError) -> Kind {
    Kind::Unreadable(match error {
        SourceError::Absent => "it does not exist or has the wrong type".to_owned(),
        SourceError::TooLarge => "it is too large".to_owned(),
        SourceError::Failed(reason) => reason,
    })
}

const DEPTH_LIMIT: usize = 64;
const FILES_LIMIT: usize = 4096;
const BYTES_LIMIT: usize = 4 * 1024 * 1024;
