//! System information from and to the JSON of internal.GetSystemInfo (spec/policy.md 9.1).

use crate::system::{QubeInfo, SystemInfo, SystemInfoError};
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
        let value: Value =
            serde_json::from_slice(json).map_err(|error| SystemInfoError::NotJson(error.to_string()))?;
        let Value::Object(mut top) = value else { return Err(SystemInfoError::NoDomains) };
        let Some(Value::Object(domains)) = top.remove("domains") else {
            return Err(SystemInfoError::NoDomains);
        };
        let mut qubes = Vec::with_capacity(domains.len());
        for (name, value) in domains {
            let Value::Object(keys) = value else { return Err(SystemInfoError::NoDomains) };
            qubes.push(Keys { qube: &name, keys }.into_info()?);
        }
        Self::new(qubes)
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

struct Keys<'a> {
    qube: &'a str,
    keys: Map<String, Value>,
}

impl Keys<'_> {
    fn into_info(mut self) -> Result<QubeInfo, SystemInfoError> {
        let uuid = match self.text("uuid")? {
            Some(text) => Some(text.parse().map_err(|_| self.bad("uuid", "a UUID"))?),
            None => None,
        };
        Ok(QubeInfo {
            name: self.qube.to_owned(),
            class: self.text("type")?.ok_or_else(|| self.bad("type", "a text"))?,
            tags: self.tags()?,
            template_for_dispvms: match self.keys.get("template_for_dispvms") {
                Some(Value::Bool(flag)) => *flag,
                _ => return Err(self.bad("template_for_dispvms", "true or false")),
            },
            default_dispvm: self.text("default_dispvm")?,
            power_state: self.text("power_state")?.unwrap_or_default(),
            uuid,
            internal: self.text("internal")?,
            icon: self.text("icon")?.unwrap_or_default(),
            label: self.text("label")?.unwrap_or_default(),
            guivm: self.text("guivm")?,
            relayvm: self.text("relayvm")?,
            transport_rpc: self.text("transport_rpc")?,
        })
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, SystemInfoError> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(key, "a text or null")),
        }
    }

    fn tags(&mut self) -> Result<Vec<String>, SystemInfoError> {
        let Some(Value::Array(values)) = self.keys.remove("tags") else {
            return Err(self.bad("tags", "a list of texts"));
        };
        let text = |value| match value {
            Value::String(text) => Ok(text),
            _ => Err(self.bad("tags", "a list of texts")),
        };
        values.into_iter().map(text).collect()
    }

    fn bad(&self, key: &'static str, expected: &'static str) -> SystemInfoError {
        SystemInfoError::BadKey { qube: self.qube.to_owned(), key, expected }
    }
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
        let deep = "[".repeat(100_000);
        assert!(matches!(SystemInfo::from_json(deep.as_bytes()), Err(SystemInfoError::NotJson(_))));
    }
}
