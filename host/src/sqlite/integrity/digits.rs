//! Numbers that versions of SQLite compute or write as text in different digits.
//!
//! SQLite 3.40 writes a floating-point number as text with 15 digits, a newer one with as many as tell it
//! from every other number. So a key that is computed from such a number holds other text where another
//! version computed it. Neither is damaged.

use super::values::Owned;

/// Why an index is not judged.
pub(super) const WHY: &str = "versions of SQLite write numbers as text in different digits";

/// How far two numbers may lie apart that are the same in different digits, of the number: of 15 digits
/// the last may be wrong by a half.
const APART: f64 = 1e-14;
/// Digits in which all versions agree, but for a carry.
const SAME_DIGITS: usize = 13;
/// Digits from which on versions differ.
const LEAST_DIGITS: usize = 15;

/// Whether two computed values are the same but for the digits in which a number in them is written.
pub(super) fn are_alike(one: &Owned, other: &Owned) -> bool {
    match (one, other) {
        (Owned::Real(one), Owned::Real(other)) => are_near(*one, *other),
        (Owned::Text(one), Owned::Text(other)) => texts_are_alike(one, other),
        _ => false,
    }
}

/// Whether another version of SQLite may compute something else in place of this value.
pub(super) fn may_differ(value: &Owned) -> bool {
    match value {
        Owned::Real(value) => value.fract() != 0.0,
        Owned::Text(text) => Runs(text).any(|run| run.is_number && has_many_digits(run.text)),
        Owned::Null | Owned::Integer(_) | Owned::Blob(_) => false,
    }
}

fn are_near(one: f64, other: f64) -> bool {
    let largest = one.abs().max(other.abs());
    one.to_bits() == other.to_bits() || (one - other).abs() <= largest * APART
}

fn texts_are_alike(one: &[u8], other: &[u8]) -> bool {
    let (mut ones, mut others) = (Runs(one), Runs(other));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one.text == other.text => {}
            (Some(one), Some(other)) if one.is_number && other.is_number => {
                if !runs_are_alike(one.text, other.text) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Whether two runs of the characters of numbers are one number in different digits, or several numbers
/// one behind another of which the first is.
fn runs_are_alike(one: &[u8], other: &[u8]) -> bool {
    if !has_many_digits(one) && !has_many_digits(other) {
        return false;
    }
    let is_fraction = |run: &[u8]| run.iter().any(|byte| b".,".contains(byte));
    match (number(one), number(other)) {
        (Some(near), Some(far)) if is_fraction(one) || is_fraction(other) => are_near(near, far),
        // Whole numbers are written alike everywhere: these may be digits that something was made of.
        (Some(_), Some(_)) if digits(one).count() == digits(other).count() => false,
        _ => {
            let same = digits(one).zip(digits(other));
            same.take_while(|(one, other)| one == other).count() >= SAME_DIGITS
        }
    }
}

/// The number that a run is; some write the point as a comma.
fn number(run: &[u8]) -> Option<f64> {
    str::from_utf8(run).ok()?.replacen(',', ".", 1).parse().ok()
}

fn has_many_digits(run: &[u8]) -> bool {
    digits(run).count() >= LEAST_DIGITS
}

/// The digits that count, without the zeros before the first other one.
fn digits(run: &[u8]) -> impl Iterator<Item = u8> {
    let digits = run.iter().copied().filter(u8::is_ascii_digit);
    digits.skip_while(|digit| *digit == b'0')
}

/// The parts of a text that may be numbers, and what is between them.
struct Runs<'t>(&'t [u8]);

struct Run<'t> {
    text: &'t [u8],
    is_number: bool,
}

impl<'t> Iterator for Runs<'t> {
    type Item = Run<'t>;

    fn next(&mut self) -> Option<Run<'t>> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.,eE".contains(byte);
        let is_number = is_part(self.0.first()?);
        let end = self.0.iter().position(|byte| is_part(byte) != is_number);
        let (text, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        Some(Run { text, is_number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Owned {
        Owned::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn the_same_number_in_other_digits_is_alike() {
        for (one, other) in [
            ("0.142857142857143", "0.14285714285714285"),
            ("1.28571428571429", "1.2857142857142858"),
            ("-9.22337203685478e+18", "-9.2233720368547758e+18"),
            ("1.0", "0.99999999999999989"),
            (
                "price: 0.333333333333333 EUR",
                "price: 0.33333333333333331 EUR",
            ),
            ("0,333333333333333", "0,33333333333333331"),
            (
                "9.22337203685478e+189.22337203685478e+18",
                "9.2233720368547758e+189.2233720368547758e+18",
            ),
            (
                "0.142857142857143-0.142857142857143",
                "0.14285714285714285-0.14285714285714285",
            ),
        ] {
            assert!(are_alike(&text(one), &text(other)), "{one} {other}");
            assert!(may_differ(&text(other)), "{other}");
        }
        assert!(are_alike(&Owned::Real(0.1 + 0.2), &Owned::Real(0.3)));
    }

    #[test]
    fn another_value_is_not() {
        for (one, other) in [
            ("0.142857142857143", "0.152857142857143"),
            ("0.142857142857143", "1.42857142857143"),
            ("12.5", "12.6"),
            ("1e5", "1e6"),
            ("same 0.142857142857143", "some 0.14285714285714285"),
            ("0.142857142857143 a", "0.14285714285714285"),
            ("Ann 1", "Ann 2"),
            ("key 1000000000000001", "key 1000000000000002"),
            ("1000000000000001", "2000000000000001"),
            ("", "0.14285714285714285"),
        ] {
            assert!(!are_alike(&text(one), &text(other)), "{one} {other}");
        }
        assert!(!are_alike(&Owned::Real(0.3), &Owned::Real(0.300_001)));
        assert!(!are_alike(&Owned::Integer(1), &text("1")));
        assert!(!may_differ(&text("Ann 12.5")) && !may_differ(&Owned::Real(4.0)));
    }
}
