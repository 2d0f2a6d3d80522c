//! What a template was like when its disposables were made, so that changes that no keeper heard of are found. Pure.

use super::property_matters;

/// The properties of a template that make its disposables stale when they change, one a line, in their order.
/// `properties` is the answer of `admin.vm.property.GetAll`: lines `NAME default=… type=… VALUE` (spec/admin-api.md 4.2).
///
/// Two equal fingerprints mean that nothing the keeper could have been told of has changed (M12: a restart alone makes
/// nothing stale).
#[must_use]
pub fn fingerprint(properties: &str) -> String {
    let matters = |line: &&str| line.split(' ').next().is_some_and(property_matters);
    // Whether a value is a default is no difference: only values reach a disposable (R92).
    let value = |line: &str| match line.split_once(" default=") {
        Some((name, rest)) => format!("{name} {}\n", rest.split_once(' ').map_or("", |(_, value)| value)),
        None => format!("{line}\n"),
    };
    let mut lines: Vec<String> = properties.lines().filter(matters).map(value).collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    const BEFORE: &str = "memory default=True type=int 400\nnetvm default=True type=vm sys-net\nqid default=False type=int 7\n";

    #[test]
    fn r91_ignored_properties_make_nothing_stale() {
        assert_eq!(fingerprint(BEFORE), fingerprint(&BEFORE.replace("int 7", "int 8")));
        assert_ne!(fingerprint(BEFORE), fingerprint(&BEFORE.replace("sys-net", "sys-vpn")));
        assert_ne!(fingerprint(BEFORE), fingerprint(&BEFORE.replace("int 400", "int 500")));
    }

    #[test]
    fn m12_the_same_values_are_the_same_however_they_came() {
        assert_eq!(
            fingerprint(BEFORE),
            fingerprint(&BEFORE.replace("memory default=True", "memory default=False"))
        );
        let mut lines: Vec<&str> = BEFORE.lines().collect();
        lines.reverse();
        assert_eq!(fingerprint(BEFORE), fingerprint(&lines.join("\n")));
    }
}
