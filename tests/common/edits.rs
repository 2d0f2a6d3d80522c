//! Ways of saving, for the embedded host and for Xen: name, application, what the file holds before and after, exit code.

/// Each application gets the file as its last word.
pub(crate) const EDITS: &[(&str, &str, &str, &str, i32)] = &[
    (
        "m37_a_launcher_that_forks",
        r#"sh -c '(sleep 0.4; sed -i s/draft/final/ "$0") & exit 0'"#,
        "a draft\nof a draft\n",
        "a final\nof a final\n",
        0,
    ),
    ("m31_two_saves_within_a_second", r#"sh -c 'printf one > "$0"; printf two > "$0"'"#, "abc", "two", 0),
    // The second save has the size and the second of the first one, and the first is the original again.
    ("m31_the_original_again", r#"sh -c 'printf xyz > "$0"; printf abc > "$0"'"#, "abc", "abc", 0),
    (
        "m31_truncate_and_rewrite",
        r#"sh -c 'new=$(sed s/draft/final/ "$0"); truncate -s 0 "$0"; sleep 0.1; echo "$new" >> "$0"'"#,
        "a draft\n",
        "a final\n",
        0,
    ),
    ("m33_all_text_deleted", "truncate -s 0", "a draft\n", "", 0),
    (
        "p12_killed_in_the_middle_of_a_save",
        r#"sh -c 'printf hal > "$0"; kill -9 $$'"#,
        "a draft\n",
        "a draft\n",
        137,
    ),
];
