//! Reads system information from JSON in one pass, without a tree of values in between: every call that dom0 serves
//! waits for this.

use crate::system::{QubeInfo, SystemInfoError};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// The whole answer: the qubes under the key `domains`, `None` where there is no such key. What is wrong with a qube
/// goes into `trouble`, because an error of the JSON reader holds text alone.
pub(crate) struct Domains<'t> {
    trouble: &'t mut Option<SystemInfoError>,
}

impl<'t> Domains<'t> {
    pub(crate) fn new(trouble: &'t mut Option<SystemInfoError>) -> Self {
        Self { trouble }
    }
}

impl<'de> DeserializeSeed<'de> for Domains<'_> {
    type Value = Option<Vec<QubeInfo>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Domains<'_> {
    type Value = Option<Vec<QubeInfo>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut qubes = None;
        while let Some(Text(key)) = map.next_key()? {
            if key == "domains" {
                qubes = Some(map.next_value_seed(Qubes { trouble: &mut *self.trouble })?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(qubes)
    }
}

/// Room for so many qubes is taken at first.
const USUAL_COUNT: usize = 64;

struct Qubes<'t> {
    trouble: &'t mut Option<SystemInfoError>,
}

impl<'de> DeserializeSeed<'de> for Qubes<'_> {
    type Value = Vec<QubeInfo>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Qubes<'_> {
    type Value = Vec<QubeInfo>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of qubes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut qubes = Vec::with_capacity(USUAL_COUNT);
        while let Some(Text(name)) = map.next_key()? {
            let keys: Keys<'de> = map.next_value()?;
            match keys.into_info(&name) {
                Ok(info) => qubes.push(info),
                Err(trouble) => {
                    *self.trouble = Some(trouble);
                    return Err(A::Error::custom("a qube with a bad key"));
                }
            }
        }
        Ok(qubes)
    }
}

/// The keys of one qube as they stand; of a key that appears twice the last counts.
#[derive(Default)]
struct Keys<'a> {
    internal: Slot<'a>,
    tags: Slot<'a>,
    class: Slot<'a>,
    template_for_dispvms: Slot<'a>,
    default_dispvm: Slot<'a>,
    icon: Slot<'a>,
    label: Slot<'a>,
    guivm: Slot<'a>,
    relayvm: Slot<'a>,
    transport_rpc: Slot<'a>,
    power_state: Slot<'a>,
    uuid: Slot<'a>,
}

type Slot<'a> = Option<Field<'a>>;

/// A value, as far as any key has a use for it.
enum Field<'a> {
    Null,
    Flag(bool),
    Text(Cow<'a, str>),
    /// A list of texts; `None` where something else is in it.
    Texts(Option<Vec<String>>),
    Other,
}

impl<'a> Keys<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Slot<'a>> {
        Some(match key {
            "internal" => &mut self.internal,
            "tags" => &mut self.tags,
            "type" => &mut self.class,
            "template_for_dispvms" => &mut self.template_for_dispvms,
            "default_dispvm" => &mut self.default_dispvm,
            "icon" => &mut self.icon,
            "label" => &mut self.label,
            "guivm" => &mut self.guivm,
            "relayvm" => &mut self.relayvm,
            "transport_rpc" => &mut self.transport_rpc,
            "power_state" => &mut self.power_state,
            "uuid" => &mut self.uuid,
            _ => return None,
        })
    }

    fn into_info(self, qube: &str) -> Result<QubeInfo, SystemInfoError> {
        let bad = |key: &'static str, expected: &'static str| SystemInfoError::BadKey {
            qube: qube.to_owned(),
            key,
            expected,
        };
        let text = |key, field| match field {
            None | Some(Field::Null) => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            Some(_) => Err(bad(key, "a text or null")),
        };
        let owned = |key, field| text(key, field).map(|text| text.map(Cow::into_owned));
        Ok(QubeInfo {
            name: qube.to_owned(),
            uuid: match text("uuid", self.uuid)? {
                Some(text) => Some(text.parse().map_err(|_| bad("uuid", "a UUID"))?),
                None => None,
            },
            class: owned("type", self.class)?.ok_or_else(|| bad("type", "a text"))?,
            tags: match self.tags {
                Some(Field::Texts(Some(tags))) => tags,
                _ => return Err(bad("tags", "a list of texts")),
            },
            template_for_dispvms: match self.template_for_dispvms {
                Some(Field::Flag(flag)) => flag,
                _ => return Err(bad("template_for_dispvms", "true or false")),
            },
            default_dispvm: owned("default_dispvm", self.default_dispvm)?,
            power_state: owned("power_state", self.power_state)?.unwrap_or_default(),
            internal: owned("internal", self.internal)?,
            icon: owned("icon", self.icon)?.unwrap_or_default(),
            label: owned("label", self.label)?.unwrap_or_default(),
            guivm: owned("guivm", self.guivm)?,
            relayvm: owned("relayvm", self.relayvm)?,
            transport_rpc: owned("transport_rpc", self.transport_rpc)?,
        })
    }
}

impl<'de> Deserialize<'de> for Keys<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that describes a qube")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::default();
        while let Some(Text(key)) = map.next_key()? {
            match keys.slot(&key) {
                Some(slot) => *slot = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(keys)
    }
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(FieldVisitor { in_list: false })
    }
}

/// Goes no deeper than one list, whatever is in there.
struct FieldVisitor {
    in_list: bool,
}

impl<'de> DeserializeSeed<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Field::Flag(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if self.in_list {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Field::Other);
        }
        let mut texts = Some(Vec::new());
        while let Some(field) = list.next_element_seed(Self { in_list: true })? {
            match (field, &mut texts) {
                (Field::Text(text), Some(texts)) => texts.push(text.into_owned()),
                _ => texts = None,
            }
        }
        Ok(Field::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

/// A key; borrowed unless it is written with escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}
