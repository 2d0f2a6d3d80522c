//! What a template needs before disposables of it are preloaded, and how many are to wait.

use admin::{AdminError, Client};
use disposable::keeper::Limits;
use names::{QubeName, QubeRef};

/// The features without which no disposable is preloaded (spec/disposables.md R21, R51).
const NEEDED: [&str; 3] =
    ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"];

/// Those that a template lacks.
pub(crate) fn lacks(admin: &Client, template: &QubeName) -> Result<Vec<&'static str>, AdminError> {
    let qube = QubeRef::Name(template.clone());
    let mut missing = Vec::new();
    for feature in NEEDED {
        let value = admin.feature_check_with_template(&qube, feature)?;
        if value.is_none_or(|value| value.is_empty()) {
            missing.push(feature);
        }
    }
    Ok(missing)
}

/// As a sentence with its remedy.
pub(crate) fn lacking(template: &QubeName, missing: &[&str]) -> String {
    format!(
        "{template} lacks {}, so none is preloaded; update its template and start it once, which sets them",
        missing.join(", ")
    )
}

/// How many are to wait, with the precedence of dom0's value (R28).
pub(crate) fn max(admin: &Client, template: &QubeName) -> Result<usize, String> {
    let said = |error: AdminError| error.to_string();
    let default = admin.system_property_get("default_dispvm").map_err(said)?;
    let feature =
        |qube: &QubeName, feature| admin.feature_get(&QubeRef::Name(qube.clone()), feature).map_err(said);
    let limits = Limits::in_force(
        default.value == template.as_str(),
        feature(template, "preload-dispvm-max")?.as_deref(),
        feature(&QubeName::dom0(), "preload-dispvm-max")?.as_deref(),
        feature(template, "preload-dispvm-delay")?.as_deref(),
        feature(&QubeName::dom0(), "preload-dispvm-delay")?.as_deref(),
    );
    let remedy = |error: disposable::keeper::FeatureError| {
        format!(
            "{error}; \"qvm-features {template} {}\" shows it, dom0's may be the one in force",
            error.feature
        )
    };
    limits.map(|limits| limits.max).map_err(remedy)
}
