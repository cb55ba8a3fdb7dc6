//! Samples of a series in a few characters: `5x10, 5..50/1s`.
//!
//! | written | samples |
//! | --- | --- |
//! | `5` | one |
//! | `_` | none: nothing was measured then |
//! | `5x10` | the value ten times |
//! | `5x30s` | the value for 30 s |
//! | `5..50/10` | ten samples on a line from 5 to 50, both among them |
//! | `5..50/1m` | the same for a minute |
//!
//! Pieces stand behind each other, separated by commas or spaces. A time is a whole number of `ms`, `s`,
//! `m` or `h`, and a multiple of the time between two samples.

/// Most samples of one series.
pub(super) const MOST: usize = 1_000_000;

/// The samples; none where nothing was measured. `every_ms` lies between two of them.
///
/// # Errors
/// What is wrong with which piece.
pub(super) fn samples(text: &str, every_ms: u64) -> Result<Vec<Option<f64>>, String> {
    let mut all = Vec::new();
    let pieces = text.split([',', ' ', '\n', '\t']);
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let room = MOST - all.len();
        let wrong = |what: &str| format!("`{piece}` {what}");
        if let Some((from, rest)) = piece.split_once("..") {
            let (to, times) = rest
                .split_once('/')
                .ok_or_else(|| wrong("does not say how long the line is, for example 5..50/10"))?;
            let times = count(times, every_ms).map_err(|what| wrong(&what))?;
            let (from, to) = (number(from), number(to));
            let (Some(from), Some(to)) = (from, to) else {
                return Err(wrong("does not lead from one number to another"));
            };
            if times < 2 {
                return Err(wrong("is a line of fewer than two samples"));
            }
            if times > room {
                return Err(wrong("is too long: a series has a million samples at most"));
            }
            all.extend((0..times).map(|at| Some(on_line(from, to, at, times - 1))));
            continue;
        }
        let (value, times) = match piece.split_once('x') {
            Some((value, times)) => {
                let times = count(times, every_ms).map_err(|what| wrong(&what))?;
                (value, times)
            }
            None => (piece, 1),
        };
        let value = match value {
            "_" => None,
            value => Some(number(value).ok_or_else(|| wrong("is no number"))?),
        };
        if times > room {
            return Err(wrong("is too long: a series has a million samples at most"));
        }
        all.extend(std::iter::repeat_n(value, times));
    }
    if all.is_empty() {
        return Err("there is no sample in it".to_owned());
    }
    Ok(all)
}

#[allow(clippy::cast_precision_loss, reason = "a million at most")]
fn on_line(from: f64, to: f64, at: usize, last: usize) -> f64 {
    if at == last {
        to
    } else {
        from + (to - from) * at as f64 / last as f64
    }
}

fn number(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|c| c.is_ascii_digit() || b"+-.eE_".contains(&c));
    let number: f64 = text.replace('_', "").parse().ok()?;
    (is_plain && number.is_finite()).then_some(number)
}

/// How often: a number, or a time.
fn count(text: &str, every_ms: u64) -> Result<usize, String> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let whole: u64 = text[..text.len() - digits.len()]
        .parse()
        .map_err(|_| "does not say how often, for example 5x10 or 5x30s".to_owned())?;
    let unit_ms = match digits {
        "" => return usize::try_from(whole).map_err(|_| "is too long".to_owned()),
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("has the unit `{other}`; known are ms, s, m and h")),
    };
    let time_ms = whole.saturating_mul(unit_ms);
    if time_ms % every_ms != 0 {
        return Err(format!(
            "is no multiple of the {every_ms} ms between two samples"
        ));
    }
    usize::try_from(time_ms / every_ms).map_err(|_| "is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<f64> {
        let all = samples(text, 1_000).unwrap();
        all.into_iter()
            .map(|value| value.unwrap_or(f64::NEG_INFINITY))
            .collect()
    }

    #[test]
    fn a_series_is_written_in_a_few_characters() {
        assert_eq!(read("5"), [5.0]);
        assert_eq!(read("5x3, -1.5"), [5.0, 5.0, 5.0, -1.5]);
        assert_eq!(read("1x2s 2e3"), [1.0, 1.0, 2_000.0]);
        assert_eq!(read("0..10/3"), [0.0, 5.0, 10.0]);
        assert_eq!(read("10..0/5s"), [10.0, 7.5, 5.0, 2.5, 0.0]);
        assert_eq!(
            read("1 _ _x2 1_000"),
            [
                1.0,
                f64::NEG_INFINITY,
                f64::NEG_INFINITY,
                f64::NEG_INFINITY,
                1_000.0
            ]
        );
        assert_eq!(samples("5..50/1s", 100).unwrap().len(), 10);
    }

    #[test]
    fn a_mistake_names_its_piece() {
        for (text, wrong) in [
            ("5 five", "`five` is no number"),
            ("inf", "`inf` is no number"),
            ("5x", "`5x` does not say how often"),
            ("5x3d", "the unit `d`"),
            ("5x1500ms", "no multiple of the 1000 ms"),
            ("5..6", "`5..6` does not say how long"),
            ("5..6/1", "fewer than two samples"),
            ("1x1000001", "a million samples at most"),
            ("1x18446744073709551615", "a million samples at most"),
            (" , ", "there is no sample in it"),
        ] {
            let told = samples(text, 1_000).unwrap_err();
            assert!(told.contains(wrong), "{text}: {told}");
        }
    }
}
