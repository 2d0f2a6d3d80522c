//! Features and what the preload features must be (spec/admin-api.md 4.3, spec/disposables.md section 4).

use super::{Qube, Refusal, Store};
use admin::protocol::Event;
use admin::{ErrorClass, QubeClass};
use names::QubeName;
use std::collections::BTreeSet;

/// Upstream nobody may set these through the API. Here dom0's own keeper does, in the place of qubesd (design,
/// section 5); `deferred-netvm-original` has no use without networks.
const FOR_DOM0: [&str; 3] = ["preload-dispvm", "preload-dispvm-completed", "preload-dispvm-in-progress"];
const FOR_NOBODY: &str = "deferred-netvm-original";

const WAIT_SERVICES: [&str; 2] = ["qubes.WaitForRunningSystem", "qubes.WaitForSession"];

impl Store {
    /// Sets a feature to bytes as they came.
    ///
    /// # Errors
    /// Bad name or value, or not for this source.
    pub fn set_feature(
        &mut self,
        source: &QubeName,
        name: &QubeName,
        feature: &str,
        value: &[u8],
    ) -> Result<(), Refusal> {
        check_name(feature)?;
        if !value.is_ascii() {
            return Err(Refusal::protocol("Feature value contains non-ASCII characters"));
        }
        if !value.iter().all(|byte| (0x20..0x7f).contains(byte)) {
            return Err(Refusal::protocol(format!("{feature} value contains illegal characters")));
        }
        check_permission(source, feature)?;
        let value = String::from_utf8_lossy(value).into_owned();
        let old = self.qube(name)?.feature(feature).map(str::to_owned);
        let mut event = Event::new(name.as_str(), "").with("feature", feature).with("value", &value);
        if let Some(old) = &old {
            event = event.with("oldvalue", old);
        }
        self.fire(Event { name: format!("domain-feature-pre-set:{feature}"), ..event.clone() });
        self.check_preload_feature(name, feature, &value, old.as_deref())?;
        self.qube_mut(name)?.features.insert(feature.to_owned(), value.clone());
        self.feature_changed(name, feature);
        self.after_feature(name, feature, old.as_deref(), Some(&value));
        self.fire(Event { name: format!("domain-feature-set:{feature}"), ..event });
        Ok(())
    }

    /// Removes a feature.
    ///
    /// # Errors
    /// Not set, or not for this source.
    pub fn remove_feature(
        &mut self,
        source: &QubeName,
        name: &QubeName,
        feature: &str,
    ) -> Result<(), Refusal> {
        check_permission(source, feature)?;
        let Some(old) = self.qube(name)?.feature(feature).map(str::to_owned) else {
            return Err(no_feature(name, feature));
        };
        let event = Event::new(name.as_str(), "").with("feature", feature);
        self.fire(Event { name: format!("domain-feature-pre-delete:{feature}"), ..event.clone() });
        self.qube_mut(name)?.features.remove(feature);
        self.feature_changed(name, feature);
        self.after_feature(name, feature, Some(&old), None);
        self.fire(Event { name: format!("domain-feature-delete:{feature}"), ..event });
        Ok(())
    }

    /// A feature of the qube, else of its template, else of the template's template.
    #[must_use]
    pub fn feature_with_template(&self, name: &QubeName, feature: &str) -> Option<&str> {
        let mut qube = self.get(name)?;
        for _ in 0..3 {
            if let Some(value) = qube.feature(feature) {
                return Some(value);
            }
            qube = self.get(&qube.template()?)?;
        }
        None
    }

    fn feature_changed(&mut self, name: &QubeName, feature: &str) {
        if feature == "internal" {
            self.info_revision += 1;
        }
        if is_saved(feature) && self.get(name).is_some_and(Qube::is_saved) {
            self.unsaved = true;
        }
    }

    fn check_preload_feature(
        &mut self,
        name: &QubeName,
        feature: &str,
        value: &str,
        old: Option<&str>,
    ) -> Result<(), Refusal> {
        let qube = self.qube(name)?;
        let is_dom0 = qube.class == QubeClass::AdminVM;
        let checked = is_dom0 || qube.class == QubeClass::AppVM;
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match feature {
            "preload-dispvm-max" if is_dom0 => {
                if old == Some(value) {
                    return Ok(());
                }
                match self.default_dispvm() {
                    Some(default) => self.check_max(&default, digits),
                    None => Ok(()),
                }
            }
            "preload-dispvm-max" if checked => self.check_max(name, digits),
            "preload-dispvm-delay" if checked && old != Some(value) && !value.is_empty() => {
                match value.trim().parse::<f64>() {
                    Ok(_) => Ok(()),
                    Err(_) => {
                        Err(Refusal::value("Invalid preload-dispvm-delay value: not an integer or float"))
                    }
                }
            }
            "preload-dispvm-threshold" if is_dom0 && !digits => {
                Err(Refusal::value("Invalid preload-dispvm-threshold value: not a digit"))
            }
            "preload-dispvm" => self.check_list(name, value, old.unwrap_or_default()),
            _ => Ok(()),
        }
    }

    /// R21.
    fn check_max(&self, name: &QubeName, digits: bool) -> Result<(), Refusal> {
        let is_true =
            |feature: &str| self.feature_with_template(name, feature).is_some_and(|value| !value.is_empty());
        if !is_true("qrexec") {
            return Err(Refusal::value("Qube does not support qrexec"));
        }
        let missing: Vec<&str> = WAIT_SERVICES
            .into_iter()
            .filter(|service| !is_true(&format!("supported-rpc.{service}")))
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::value(format!("Qube does not support the RPC(s) '{}'", missing.join(", "))));
        }
        if !digits {
            return Err(Refusal::value("Invalid preload-dispvm-max value: not a digit"));
        }
        Ok(())
    }

    /// R25.
    fn check_list(&self, name: &QubeName, value: &str, old: &str) -> Result<(), Refusal> {
        let (new, old) = (members(value), members(old));
        let (new_set, old_set): (BTreeSet<_>, BTreeSet<_>) = (new.iter().collect(), old.iter().collect());
        if new.is_empty() || new_set == old_set {
            return Ok(());
        }
        let invalid = |why: String| Err(Refusal::value(format!("Invalid preload-dispvm value: {why}")));
        let max = self.preload_max(name);
        if new.len() > max.max(old.len()) {
            return invalid(format!(
                "can't increment: qube count ({}) is either bigger than old count ({}) or preload-dispvm-max ({max})",
                new.len(),
                old.len(),
            ));
        }
        if new_set.len() != new.len() {
            return invalid("a name is in the list twice".into());
        }
        for added in new.iter().filter(|added| !old_set.contains(added)) {
            let qube = added.parse().ok().and_then(|added: QubeName| self.get(&added));
            if qube.and_then(Qube::template).as_ref() != Some(name) {
                return invalid(format!("'{added}' is no disposable of {name}"));
            }
        }
        Ok(())
    }

    fn after_feature(&mut self, name: &QubeName, feature: &str, old: Option<&str>, new: Option<&str>) {
        match feature {
            "preload-dispvm" => self.list_changed(old.unwrap_or_default(), new.unwrap_or_default()),
            "preload-dispvm-max" if old != new => self.max_changed(name, new),
            _ => {}
        }
    }

    /// Whether the value of a feature is in the file (R111).
    pub(super) fn features_in_file(qube: &Qube) -> impl Iterator<Item = (&str, &str)> {
        qube.features().filter(|(feature, _)| is_saved(feature))
    }
}

fn is_saved(feature: &str) -> bool {
    !feature.starts_with("preload-dispvm")
        || matches!(feature, "preload-dispvm-max" | "preload-dispvm-delay" | "preload-dispvm-threshold")
}

/// The names in a list.
pub(super) fn members(list: &str) -> Vec<&str> {
    list.split(' ').filter(|name| !name.is_empty()).collect()
}

/// `QubesFeatureNotFoundError`.
pub(crate) fn no_feature(name: &QubeName, feature: &str) -> Refusal {
    Refusal::new(
        ErrorClass::QubesFeatureNotFoundError,
        format!("Feature not set for domain {name}: {feature}"),
    )
}

pub(super) fn check_name(feature: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if feature.is_empty() || !feature.bytes().all(allowed) {
        return Err(Refusal::protocol("feature name contains illegal characters"));
    }
    Ok(())
}

fn check_permission(source: &QubeName, feature: &str) -> Result<(), Refusal> {
    if feature == FOR_NOBODY || FOR_DOM0.contains(&feature) && !source.is_dom0() {
        return Err(Refusal::denied("changing this feature is prohibited by qubes.ext.admin.AdminExtension"));
    }
    Ok(())
}
