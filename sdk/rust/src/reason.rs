//! Reasons: a stable rule name, and a text with numbers in it for a person.

/// A [`Reason`](crate::Reason): the rule's name, then the text as for `format!`.
///
/// The name is checked while compiling: words of lower-case letters, digits and hyphens, joined by
/// dots, at least two of them. People and recordings refer to it, so it must outlive any rewording.
///
/// ```
/// let reason = dbmedic_policy::reason!("lock.too-fresh", "lock held {}", dbmedic_policy::seconds(4_200));
/// assert_eq!((reason.rule.as_str(), reason.text.as_str()), ("lock.too-fresh", "lock held 4.2 s"));
/// ```
#[macro_export]
macro_rules! reason {
    ($rule:literal, $($text:tt)+) => {{
        const _: () = assert!($crate::is_rule_name($rule), "a rule's name is dotted kebab-case");
        $crate::Reason {
            rule: ::std::string::String::from($rule),
            text: ::std::format!($($text)+),
        }
    }};
}

/// Whether this is the name of a rule: at least two words of `a-z`, `0-9` and `-`, joined by dots.
pub const fn is_rule_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (mut at, mut has_dot, mut has_word) = (0, false, false);
    while at < bytes.len() {
        match bytes[at] {
            b'a'..=b'z' | b'0'..=b'9' => has_word = true,
            b'-' if has_word => {}
            b'.' if has_word => {
                has_dot = true;
                has_word = false;
            }
            _ => return false,
        }
        at += 1;
    }
    has_dot && has_word
}

/// Milliseconds as a person reads them: `4.2 s`, tenths cut off, not rounded, so that a text
/// never says that a threshold was reached when it was not.
pub fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// A percentage as a person reads it: `4.2 %`. The tenths are rounded half up and written as whole
/// numbers, so that every language of policies writes the same.
pub fn percent(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is beyond a whole number is shown as the largest"
    )]
    let tenths = (value * 10.0 + 0.5).floor() as i64;
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{is_rule_name, percent, seconds};

    #[test]
    fn a_rule_name_is_dotted_kebab_case() {
        for good in ["lock.too-fresh", "a.b", "wal.frame.2"] {
            assert!(is_rule_name(good), "{good}");
        }
        for bad in [
            "", "lock", "lock.", ".lock", "Lock.a", "lock..a", "lock a", "lock.-a",
        ] {
            assert!(!is_rule_name(bad), "{bad}");
        }
    }

    #[test]
    fn durations_and_shares_read_well() {
        assert_eq!(seconds(4_299), "4.2 s");
        assert_eq!(seconds(0), "0.0 s");
        assert_eq!(percent(95.04), "95.0 %");
        assert_eq!(percent(2.25), "2.3 %");
        assert_eq!(percent(-0.26), "-0.3 %");
    }
}
