//! How many disposables wait for each template: the features and their order of precedence.

use std::fmt;
use std::time::Duration;

/// What is in force for one template.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How many wait, at most.
    pub max: usize,
    /// When to refill after a use.
    pub delay: Delay,
}

/// When to refill after a disposable was used (spec/disposables.md R29, R88, R89).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// This long after each use.
    After(Duration),
    /// Only when none is left, then this long after the last use (a negative value of the feature).
    WhenEmpty(Duration),
}

/// A feature's value that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureError {
    /// The feature.
    pub feature: &'static str,
    /// Its value, sanitised.
    pub value: String,
    /// What it should be.
    pub expected: &'static str,
}

impl fmt::Display for FeatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature {} is \"{}\": should be {}", self.feature, self.value, self.expected)
    }
}

impl std::error::Error for FeatureError {}

/// Features as read from the Admin API; `None` means that the feature is not set, which is not the same as 0.
impl Limits {
    /// What is in force (R28, R29): for the system's default_dispvm the value on dom0 counts if it is set at all; else,
    /// and for all other templates, the template's own. The delay: template, else dom0, else 3 seconds.
    ///
    /// # Errors
    /// The value in force is not what it should be.
    pub fn in_force(
        is_default_dispvm: bool,
        template_max: Option<&str>,
        dom0_max: Option<&str>,
        template_delay: Option<&str>,
        dom0_delay: Option<&str>,
    ) -> Result<Self, FeatureError> {
        let max = match dom0_max {
            Some(value) if is_default_dispvm => parse_max(value)?,
            _ => template_max.map_or(Ok(0), parse_max)?,
        };
        let delay = template_delay.or(dom0_delay).map_or(Ok(DEFAULT_DELAY), parse_delay)?;
        Ok(Self { max, delay })
    }
}

/// `preload-dispvm-max`: decimal digits, or empty for 0 (R21).
///
/// # Errors
/// Anything else.
pub fn parse_max(value: &str) -> Result<usize, FeatureError> {
    let number = digits("preload-dispvm-max", value)?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// `preload-dispvm-threshold`: MiB that are to stay free, decimal digits, or empty for 0 (R24, R30).
///
/// # Errors
/// Anything else.
pub fn parse_threshold(value: &str) -> Result<u64, FeatureError> {
    digits("preload-dispvm-threshold", value)
}

fn digits(feature: &'static str, value: &str) -> Result<u64, FeatureError> {
    let error = || FeatureError {
        feature,
        value: names::printable(value.as_bytes()).to_string(),
        expected: "a whole number",
    };
    match value {
        "" => Ok(0),
        _ if value.bytes().all(|byte| byte.is_ascii_digit()) => value.parse().map_err(|_| error()),
        _ => Err(error()),
    }
}

/// `preload-dispvm-delay`: seconds, may be a fraction, negative means "only when empty"; empty is 0 (R23, R29).
/// Beyond R23, which lets them pass, `inf` and `nan` are refused: neither is a time to wait.
///
/// # Errors
/// Anything else.
pub fn parse_delay(value: &str) -> Result<Delay, FeatureError> {
    let error = || FeatureError {
        feature: "preload-dispvm-delay",
        value: names::printable(value.as_bytes()).to_string(),
        expected: "a number of seconds",
    };
    let seconds: f64 = if value.is_empty() { 0.0 } else { value.trim().parse().map_err(|_| error())? };
    let length = Duration::try_from_secs_f64(seconds.abs()).map_err(|_| error())?;
    Ok(if seconds < 0.0 { Delay::WhenEmpty(length) } else { Delay::After(length) })
}

const DEFAULT_DELAY: Delay = Delay::After(Duration::from_secs(3));

#[cfg(test)]
mod tests {
    use super::*;

    fn max(is_default: bool, template: Option<&str>, dom0: Option<&str>) -> usize {
        Limits::in_force(is_default, template, dom0, None, None).unwrap().max
    }

    #[test]
    fn r28_dom0_counts_for_the_default_template_if_set_at_all() {
        assert_eq!(max(true, Some("4"), Some("2")), 2);
        assert_eq!(max(true, Some("4"), Some("")), 0);
        assert_eq!(max(true, Some("4"), None), 4);
        assert_eq!(max(false, Some("4"), Some("2")), 4);
        assert_eq!(max(false, None, Some("2")), 0);
    }

    #[test]
    fn r29_delay_in_force() {
        let delay = |template, dom0| Limits::in_force(false, None, None, template, dom0).unwrap().delay;
        assert_eq!(delay(None, None), Delay::After(Duration::from_secs(3)));
        assert_eq!(delay(Some(""), Some("9")), Delay::After(Duration::ZERO));
        assert_eq!(delay(None, Some("-1.5")), Delay::WhenEmpty(Duration::from_millis(1500)));
    }

    #[test]
    fn r21_r23_r24_bad_values() {
        for bad in ["x", "-1", "1.5", "99999999999999999999999"] {
            assert!(parse_max(bad).is_err(), "{bad}");
            assert!(parse_threshold(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_threshold(""), Ok(0));
        assert_eq!(parse_threshold("1024"), Ok(1024));
        for bad in ["x", "inf", "nan", "1e300"] {
            assert!(parse_delay(bad).is_err(), "{bad}");
        }
    }
}
