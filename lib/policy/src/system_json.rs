//! System information from and to the JSON of internal.GetSystemInfo (spec/policy.md 9.1).

use crate::system::{QubeInfo, SystemInfo, SystemInfoError};
use crate::system_visitor::Domains;
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

impl SystemInfo {
    /// Parses the answer of internal.GetSystemInfo. Keys that some releases of qubesd do not send (`internal`, `icon`,
    /// `label`, `guivm`, `relayvm`, `transport_rpc`, `uuid`, `power_state`) may be missing; unknown keys are ignored.
    ///
    /// # Errors
    /// [`SystemInfoError`], with the qube and the key.
    pub fn from_json(json: &[u8]) -> Result<Self, SystemInfoError> {
        if json.len() > JSON_LIMIT {
            return Err(SystemInfoError::TooLarge);
        }
        // Checked once as a whole: the reader of bytes would check each text by itself.
        let json = std::str::from_utf8(json).map_err(|error| SystemInfoError::NotJson(error.to_string()))?;
        let mut trouble = None;
        let mut reader = serde_json::Deserializer::from_str(json);
        let qubes = Domains::new(&mut trouble).deserialize(&mut reader).and_then(|qubes| {
            reader.end()?;
            Ok(qubes)
        });
        match (qubes, trouble) {
            (Ok(Some(qubes)), _) => Self::new(qubes),
            (Ok(None), _) => Err(SystemInfoError::NoDomains),
            (Err(_), Some(trouble)) => Err(trouble),
            // Well-formed, but another type than the one that belongs there.
            (Err(error), None) if error.is_data() => Err(SystemInfoError::NoDomains),
            (Err(error), None) => Err(SystemInfoError::NotJson(error.to_string())),
        }
    }

    /// The JSON that [`SystemInfo::from_json`] reads and internal.GetSystemInfo answers.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let domains = self.qubes().map(|info| (info.name.clone(), Value::Object(object(info)))).collect();
        let top: Map<String, Value> = [("domains".to_owned(), Value::Object(domains))].into_iter().collect();
        Value::Object(top).to_string().into_bytes()
    }
}

fn object(info: &QubeInfo) -> Map<String, Value> {
    let pairs: [(&str, Value); 12] = [
        ("internal", info.internal.clone().into()),
        ("tags", info.tags.clone().into()),
        ("type", info.class.clone().into()),
        ("template_for_dispvms", info.template_for_dispvms.into()),
        ("default_dispvm", info.default_dispvm.clone().into()),
        ("icon", info.icon.clone().into()),
        ("label", info.label.clone().into()),
        ("guivm", info.guivm.clone().into()),
        ("relayvm", info.relayvm.clone().into()),
        ("transport_rpc", info.transport_rpc.clone().into()),
        ("power_state", info.power_state.clone().into()),
        ("uuid", info.uuid.map(|uuid| uuid.to_string()).into()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

const JSON_LIMIT: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(domains: &str) -> Result<SystemInfo, SystemInfoError> {
        SystemInfo::from_json(format!("{{\"domains\": {{{domains}}}}}").as_bytes())
    }

    const UUID: &str = "00000000-0000-4000-8000-000000000001";

    #[test]
    fn looked_up_by_name_and_by_uuid() {
        let system = parse(&format!(
            r#""a": {{"type": "AppVM", "tags": ["x"], "template_for_dispvms": true, "uuid": "{UUID}", "new": [1]}},
               "b": {{"type": "AppVM", "tags": [], "template_for_dispvms": false}}"#
        ))
        .unwrap();
        assert_eq!(system.get("a"), system.get(&format!("uuid:{UUID}")));
        assert!(system.get("a").unwrap().has_tag("x"));
        assert_eq!(system.get("b").unwrap().uuid, None);
        for none in ["", "c", UUID, "uuid:", "uuid:a", "@dispvm:a"] {
            assert_eq!(system.get(none), None, "{none}");
        }
        assert_eq!(system.qubes().count(), 2);
    }

    #[test]
    fn what_is_none_is_refused_with_qube_and_key() {
        let qube = |rest: &str| {
            parse(&format!(r#""a": {{"type": "AppVM", "tags": [], "template_for_dispvms": false{rest}}}"#))
        };
        assert!(qube("").is_ok());
        for (rest, key) in [
            (r#", "uuid": "x""#, "uuid"),
            (r#", "guivm": 1"#, "guivm"),
            (r#", "tags": [1]"#, "tags"),
            (r#", "type": null"#, "type"),
            (r#", "template_for_dispvms": "yes""#, "template_for_dispvms"),
        ] {
            match qube(rest) {
                Err(SystemInfoError::BadKey { qube, key: found, .. }) => {
                    assert_eq!((&*qube, found), ("a", key));
                }
                other => panic!("{rest}: {other:?}"),
            }
        }
        for name in ["../x", "@dispvm", "", "x\\ny"] {
            let found = qube(&format!(r#", "default_dispvm": "{name}""#));
            assert!(matches!(found, Err(SystemInfoError::BadName(_))), "{name}: {found:?}");
        }
        let twin = format!(r#"{{"type": "", "tags": [], "template_for_dispvms": false, "uuid": "{UUID}"}}"#);
        let twins = parse(&format!(r#""a": {twin}, "b": {twin}"#));
        assert!(matches!(twins, Err(SystemInfoError::SameUuid(..))), "{twins:?}");
        for none in ["", "[]", "{}", r#"{"domains": []}"#, r#"{"domains": {"a": 1}}"#, "{\"domains\": {}} x"]
        {
            assert!(SystemInfo::from_json(none.as_bytes()).is_err(), "{none}");
        }
        for deep in [
            "[",
            "{\"domains\": [",
            "{\"x\": [",
            "{\"domains\":{\"a\":{\"tags\":[[",
            "{\"domains\":{\"a\":{\"x\":",
        ] {
            assert!(SystemInfo::from_json(deep.repeat(100_000).as_bytes()).is_err(), "{deep}");
            assert!(
                SystemInfo::from_json((deep.to_owned() + &"[".repeat(100_000)).as_bytes()).is_err(),
                "{deep}"
            );
        }
    }

    #[test]
    fn values_that_belong_elsewhere_are_passed_over_or_named() {
        let qube = |rest: &str| {
            parse(&format!(r#""a": {{"type": "AppVM", "tags": [], "template_for_dispvms": false{rest}}}"#))
        };
        for value in
            ["1", "-1", "1.5e3", "true", "{}", "{\"a\": [{}]}", "[]", "[\"x\", [1, {}]]", "\"x\"", "null"]
        {
            assert!(qube(&format!(", \"unknown\": {value}")).is_ok(), "{value}");
            let known = qube(&format!(", \"icon\": {value}"));
            assert_eq!(known.is_ok(), matches!(value, "null" | "\"x\""), "{value}: {known:?}");
            let tags = qube(&format!(", \"tags\": [{value}]"));
            assert_eq!(tags.is_ok(), value == "\"x\"", "{value}: {tags:?}");
        }
        // As in the parser that reads into a tree: escapes are undone, and the last of two counts.
        let twice = qube(r#", "tags": ["\u0078"], "\u0069con": "one", "icon": "two\n""#).unwrap();
        assert_eq!((twice.get("a").unwrap().has_tag("x"), &*twice.get("a").unwrap().icon), (true, "two\n"));
        assert!(matches!(parse(r#""a": {}"#), Err(SystemInfoError::BadKey { key: "type", .. })));
        assert_eq!(SystemInfo::from_json(br#"{"other": [], "domains": {}}"#), Ok(SystemInfo::default()));
        for broken in ["{\"domains\": {}", "{\"domains\": {\"a", "{\"domains\": {}} 1"] {
            let found = SystemInfo::from_json(broken.as_bytes());
            assert!(matches!(found, Err(SystemInfoError::NotJson(_))), "{broken}: {found:?}");
        }
    }
}
