//! One measured figure. Pure.

use serde_json::json;

/// Median and 99th percentile of several runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) median: f64,
    pub(super) p99: f64,
    pub(super) runs: usize,
    /// The figure that is its floor, if it has one.
    pub(super) floor: Option<&'static str>,
}

impl Figure {
    /// From durations in nanoseconds, shown in microseconds.
    pub(super) fn of_times(name: &'static str, floor: Option<&'static str>, nanoseconds: Vec<u64>) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a duration of over 52 bits of nanoseconds is 52 days")]
        let values = nanoseconds.into_iter().map(|ns| ns as f64 / 1000.0).collect();
        Self::of(name, "us", floor, values)
    }

    /// From values of any unit. Where more is better the "99th percentile" is the 1st: the bad end.
    pub(super) fn of(
        name: &'static str,
        unit: &'static str,
        floor: Option<&'static str>,
        mut values: Vec<f64>,
    ) -> Self {
        values.sort_by(f64::total_cmp);
        let bad_end = if matches!(unit, "1/s" | "MiB/s") { 1 } else { 99 };
        Self {
            name,
            unit,
            median: percentile(&values, 50).unwrap_or(0.0),
            p99: percentile(&values, bad_end).unwrap_or(0.0),
            runs: values.len(),
            floor,
        }
    }

    pub(super) fn to_json(&self) -> String {
        let round = |value: f64| (value * 10.0).round() / 10.0;
        json!({"name": self.name, "unit": self.unit, "median": round(self.median), "p99": round(self.p99), "runs": self.runs})
            .to_string()
    }
}

/// Nearest rank; `None` for no values.
pub(super) fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent + 50) / 100).copied()
}

pub(super) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<20} {:>10} {:>10} {:>6} {:<6} ratio to floor\n",
        "FIGURE", "MEDIAN", "P99", "RUNS", "UNIT"
    );
    for figure in figures {
        let floor = figure.floor.and_then(|name| figures.iter().find(|other| other.name == name));
        let ratio = match floor {
            Some(floor) if floor.median > 0.0 => {
                format!("{:.2} x {}", figure.median / floor.median, floor.name)
            }
            _ => String::new(),
        };
        let (median, p99) = (shown(figure.median), shown(figure.p99));
        let line = format!(
            "{:<20} {median:>10} {p99:>10} {:>6} {:<6} {ratio}",
            figure.name, figure.runs, figure.unit
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn shown(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let floor = Figure::of_times("exec_floor", None, (1..=100).map(|n| n * 1000).collect());
        assert_eq!((floor.median, floor.p99), (51.0, 99.0));
        let other = Figure::of_times("first_byte", Some("exec_floor"), vec![102_000]);
        assert!(table(&[floor, other]).contains("2.00 x exec_floor"));
    }
}
