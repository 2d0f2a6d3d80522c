//! The file `qubes.toml`: what an administrator may read and edit while the host does not run.

use super::properties::Access;
use super::set::check_value;
use super::{Qube, Store, features};
use admin::{PropertyType, QubeClass};
use names::{QubeName, Tag, Uuid};
use std::fmt;
use toml::{Table, Value};

/// What is wrong with the text, by the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// For example `qubes.work.properties.memory`; empty when the text is no TOML.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl FileError {
    fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.place, self.reason)
        }
    }
}

impl std::error::Error for FileError {}

impl Store {
    /// Reads the text of the file. A qube without `uuid` (written by hand) gets a new one and the store is unsaved.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is guessed or skipped.
    pub fn parse(text: &str, mut uuid: impl FnMut() -> Uuid) -> Result<Self, FileError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            FileError::new("", error.to_string().trim().replace('\n', " "))
        })?;
        let mut store = Self::bare();
        let (mut qubes, mut system_table) = (Table::new(), Table::new());
        for (key, value) in table {
            match key.as_str() {
                "qubes" => qubes = into_table(&key, value)?,
                "system" => system_table = into_table(&key, value)?,
                _ => return Err(FileError::new(key, "unknown key; known are qubes and system")),
            }
        }
        // First all names, so that the order of references does not matter.
        for (name, value) in &qubes {
            let place = format!("qubes.{name}");
            let name: QubeName =
                name.parse().map_err(|error: names::NameError| FileError::new(&place, error.to_string()))?;
            store.declare(&place, name, value, &mut uuid)?;
        }
        for (name, value) in qubes {
            let place = format!("qubes.{name}");
            let name: QubeName = name.parse().map_err(|_| FileError::new(&place, "not a name"))?;
            store.fill(&place, &name, into_table(&place, value)?)?;
        }
        for (key, value) in system_table {
            let place = format!("system.{key}");
            let text = scalar(&place, &value)?;
            let refused = |refusal: super::Refusal| FileError::new(&place, refusal.message);
            store.set_system_property(&key, text.as_bytes()).map_err(refused)?;
        }
        store.check_references()?;
        store.take_events();
        store.unsaved = store.qubes.len() > 1 && store.unsaved_uuid(text);
        Ok(store)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::from(HEADER);
        out.push_str("[system]\n");
        for (name, value) in &self.system {
            line(&mut out, name, value, kind_of_system(self, name));
        }
        for qube in self.iter().filter(|qube| qube.is_saved()) {
            let Qube { name, uuid, class, .. } = qube;
            out.push_str(&format!("\n[qubes.{}]\n", key(name.as_str())));
            if *class != QubeClass::AdminVM {
                out.push_str(&format!("class = \"{class}\"\nuuid = \"{uuid}\"\n"));
            }
            let tags: Vec<String> = qube.tags().map(|tag| format!("\"{tag}\"")).collect();
            out.push_str(&format!("tags = [{}]\n", tags.join(", ")));
            if !qube.properties.is_empty() {
                out.push_str(&format!("\n[qubes.{}.properties]\n", key(name.as_str())));
                for (property, value) in &qube.properties {
                    let kind = self.property_spec(qube, property).map_or(PropertyType::Str, |spec| spec.kind);
                    line(&mut out, property, value, kind);
                }
            }
            let mut features = Self::features_in_file(qube).peekable();
            if features.peek().is_some() {
                out.push_str(&format!("\n[qubes.{}.features]\n", key(name.as_str())));
                features.for_each(|(feature, value)| line(&mut out, feature, value, PropertyType::Str));
            }
        }
        out
    }

    fn unsaved_uuid(&self, text: &str) -> bool {
        self.iter().any(|qube| qube.class != QubeClass::AdminVM && !text.contains(&qube.uuid.to_string()))
    }

    fn declare(
        &mut self,
        place: &str,
        name: QubeName,
        value: &Value,
        uuid: &mut impl FnMut() -> Uuid,
    ) -> Result<(), FileError> {
        if name.is_dom0() {
            return Ok(());
        }
        let field = |key: &str| value.get(key).and_then(Value::as_str);
        let class = match field("class").map(str::parse::<QubeClass>) {
            Some(Ok(class @ (QubeClass::AppVM | QubeClass::TemplateVM | QubeClass::DispVM))) => class,
            _ => return Err(FileError::new(format!("{place}.class"), "AppVM, TemplateVM or DispVM")),
        };
        let uuid = match value.get("uuid") {
            None => uuid(),
            Some(text) => text
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| FileError::new(format!("{place}.uuid"), "not a UUID in quotes"))?,
        };
        if !self.uuid_is_free(uuid) {
            return Err(FileError::new(format!("{place}.uuid"), "another qube has this UUID"));
        }
        self.qubes.insert(name.clone(), Qube::new(name, uuid, class));
        Ok(())
    }

    fn fill(&mut self, place: &str, name: &QubeName, table: Table) -> Result<(), FileError> {
        for (key, value) in table {
            let at = format!("{place}.{key}");
            match key.as_str() {
                "class" | "uuid" if !name.is_dom0() => {}
                "tags" => {
                    let tags = value.as_array().ok_or_else(|| FileError::new(&at, "a list of texts"))?;
                    let tags: Option<Vec<Tag>> =
                        tags.iter().map(|tag| tag.as_str().and_then(|tag| tag.parse().ok())).collect();
                    let tags = tags.ok_or_else(|| FileError::new(&at, "letters, digits, \"_\" and \"-\""))?;
                    self.fill_qube(&at, name)?.tags = tags.into_iter().collect();
                }
                "properties" => {
                    for (property, value) in into_table(&at, value)? {
                        self.fill_property(&format!("{at}.{property}"), name, &property, &value)?;
                    }
                }
                "features" => {
                    for (feature, value) in into_table(&at, value)? {
                        let at = format!("{at}.{feature}");
                        features::check_name(&feature)
                            .map_err(|refusal| FileError::new(&at, refusal.message))?;
                        let text = scalar(&at, &value)?;
                        if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
                            return Err(FileError::new(at, "printable ASCII only"));
                        }
                        self.fill_qube(&at, name)?.features.insert(feature, text);
                    }
                }
                _ => {
                    let known = "unknown key; known are class, uuid, tags, properties and features";
                    return Err(FileError::new(at, known));
                }
            }
        }
        Ok(())
    }

    fn fill_property(
        &mut self,
        place: &str,
        name: &QubeName,
        property: &str,
        value: &Value,
    ) -> Result<(), FileError> {
        let refused = |refusal: super::Refusal| FileError::new(place, refusal.message);
        let qube = self.qube(name).map_err(refused)?;
        let spec = self.property_spec(qube, property).map_err(refused)?;
        if spec.access != Access::Free && spec.name != "dispid" {
            return Err(FileError::new(place, "this property cannot be set"));
        }
        let text =
            check_value(self, spec.name, spec.kind, scalar(place, value)?.as_bytes()).map_err(refused)?;
        self.fill_qube(place, name)?.properties.insert(spec.name.to_owned(), text);
        Ok(())
    }

    fn fill_qube(&mut self, place: &str, name: &QubeName) -> Result<&mut Qube, FileError> {
        self.qube_mut(name).map_err(|refusal| FileError::new(place, refusal.message))
    }

    /// Templates must be templates, and a default_dispvm must be fit.
    fn check_references(&self) -> Result<(), FileError> {
        for qube in self.iter() {
            let place = |property: &str| format!("qubes.{}.properties.{property}", qube.name);
            let template = qube.template().and_then(|template| self.get(&template));
            let fits = match qube.class {
                QubeClass::AppVM => template.is_some_and(|template| template.class == QubeClass::TemplateVM),
                QubeClass::DispVM => template.is_some_and(Qube::is_template_for_dispvms),
                _ => true,
            };
            if !fits {
                return Err(FileError::new(place("template"), "missing, or not a template for this class"));
            }
            if let Some(value) = qube.properties.get("default_dispvm") {
                self.check_default_dispvm(value, &format!("qube '{}'", qube.name))
                    .map_err(|refusal| FileError::new(place("default_dispvm"), refusal.message))?;
            }
        }
        Ok(())
    }
}

const HEADER: &str = "\
# The qubes of this state directory. Edit only while no host runs on it; the host rewrites the file.
# Unknown keys are refused. A new qube needs a class and, for AppVM and DispVM, a template; leave out its uuid.

";

fn kind_of_system(store: &Store, name: &str) -> PropertyType {
    store.system_property(name).map_or(PropertyType::Str, |property| property.kind)
}

fn line(out: &mut String, name: &str, value: &str, kind: PropertyType) {
    let value = match (kind, value) {
        (PropertyType::Bool, "True") => "true".to_owned(),
        (PropertyType::Bool, "False") => "false".to_owned(),
        (PropertyType::Int, value) => value.to_owned(),
        // Values are printable ASCII: only these two characters mean something in a TOML text.
        _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    out.push_str(&format!("{} = {value}\n", key(name)));
}

/// Names may contain dots, which mean something in a TOML key.
fn key(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare && !name.is_empty() { name.to_owned() } else { format!("\"{name}\"") }
}

fn into_table(place: &str, value: Value) -> Result<Table, FileError> {
    match value {
        Value::Table(table) => Ok(table),
        _ => Err(FileError::new(place, "a table")),
    }
}

fn scalar(place: &str, value: &Value) -> Result<String, FileError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Boolean(true) => Ok("True".into()),
        Value::Boolean(false) => Ok("False".into()),
        Value::Integer(number) => Ok(number.to_string()),
        _ => Err(FileError::new(place, "a text, a whole number, true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuids() -> impl FnMut() -> Uuid {
        let mut next = 0u8;
        move || {
            next += 1;
            Uuid::from_random([next; 16])
        }
    }

    #[test]
    fn default_set_round_trips() {
        let mut store = Store::default_set(uuids());
        let work: QubeName = "work".parse().unwrap();
        let dom0 = QubeName::dom0();
        store.set_feature(&dom0, &work, "odd.feature", b"a \"b\" \\ c").unwrap();
        store.set_property(&work, "memory", b"500").unwrap();
        store.set_feature(&dom0, &dom0, "preload-dispvm-max", b"2").unwrap();
        assert!(store.take_unsaved());
        let text = store.to_text();
        let mut again = Store::parse(&text, || panic!("all have a UUID")).unwrap();
        assert_eq!(again.to_text(), text);
        assert!(!again.take_unsaved());
        assert_eq!(again.get(&work).unwrap().feature("odd.feature"), Some("a \"b\" \\ c"));
        assert_eq!(again.default_dispvm().unwrap().as_str(), "default-dvm");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (text, place) in [
            ("x =", ""),
            ("quubes = {}", "quubes"),
            ("[qubes.\"../x\"]", "qubes.../x"),
            ("[qubes.a]", "qubes.a.class"),
            ("[qubes.a]\nclass = \"RemoteVM\"", "qubes.a.class"),
            ("[qubes.a]\nclass = \"TemplateVM\"\nuuid = \"1\"", "qubes.a.uuid"),
            ("[qubes.a]\nclass = \"TemplateVM\"\ncolour = 1", "qubes.a.colour"),
            ("[qubes.a]\nclass = \"TemplateVM\"\ntags = [\"a b\"]", "qubes.a.tags"),
            ("[qubes.a]\nclass = \"AppVM\"", "qubes.a.properties.template"),
            (
                "[qubes.a]\nclass = \"TemplateVM\"\nproperties = { template = \"a\" }",
                "qubes.a.properties.template",
            ),
            ("[qubes.a]\nclass = \"TemplateVM\"\nproperties = { xid = 3 }", "qubes.a.properties.xid"),
            (
                "[qubes.a]\nclass = \"TemplateVM\"\nproperties = { default_dispvm = \"a\" }",
                "qubes.a.properties.default_dispvm",
            ),
            ("[qubes.a]\nclass = \"TemplateVM\"\nfeatures = { \"a b\" = 1 }", "qubes.a.features.a b"),
            ("[system]\ndefault_dispvm = \"dom0\"", "system.default_dispvm"),
            ("[system]\nx = 1", "system.x"),
        ] {
            let error = Store::parse(text, uuids()).unwrap_err();
            assert_eq!(error.place, place, "{error}");
        }
    }

    #[test]
    fn a_qube_written_by_hand_gets_a_uuid() {
        let text = "[qubes.t]\nclass = \"TemplateVM\"\n[qubes.a]\nclass = \"AppVM\"\nproperties = { template = \"t\", memory = 9 }";
        let mut store = Store::parse(text, uuids()).unwrap();
        assert!(store.take_unsaved());
        let qube = store.get(&"a".parse().unwrap()).unwrap();
        assert_eq!(store.property(qube, "memory").unwrap().to_string(), "default=False type=int 9");
    }

    #[test]
    fn disposables_that_clean_up_are_not_in_the_file() {
        let mut store = Store::default_set(uuids());
        store.take_unsaved();
        let fresh = super::super::Fresh { uuid: Uuid::from_random([99; 16]), random: || 7, now: 0 };
        store.create_disposable(&"default-dvm".parse().unwrap(), fresh).unwrap();
        assert!(!store.take_unsaved(), "promise P6: no file is written for a disposable");
        assert!(!store.to_text().contains("disp7"));
    }
}
