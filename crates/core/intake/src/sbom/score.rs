//! How bad a vulnerability is.

use std::str::FromStr as _;

use serde::Deserialize;

/// A rating of an OSV record.
#[derive(Debug, Deserialize)]
pub(super) struct Rating {
    #[serde(default)]
    score: String,
}

/// The highest base score of some vectors, tenths; of none that can be read, `None`.
pub(super) fn highest<'a>(ratings: impl Iterator<Item = &'a Rating>) -> Option<u32> {
    ratings.filter_map(|rating| of_vector(&rating.score)).max()
}

/// The score of a CVSS vector (version 2 to 4), tenths.
pub(super) fn of_vector(vector: &str) -> Option<u32> {
    let score = cvss::Cvss::from_str(vector).ok()?.score();
    of_number(score)
}

/// A score of 0 to 10, tenths.
pub(super) fn of_number(score: f64) -> Option<u32> {
    // Rounded, as 7.0 may be 6.999….
    (0..=100).find(|tenths| (f64::from(*tenths) - score * 10.0).abs() < 0.5)
}

/// Where a word of severity begins (CVSS 3.1, section 5), tenths: who only says a word is taken at its least.
pub(super) fn of_word(word: &str) -> Option<u32> {
    match word.to_ascii_lowercase().as_str() {
        "low" => Some(1),
        "moderate" | "medium" => Some(40),
        "high" | "important" => Some(70),
        "critical" => Some(90),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_become_scores() {
        assert_eq!(of_vector("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), Some(98));
        assert_eq!(of_vector("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"), Some(75));
        assert_eq!(of_vector("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"), Some(93));
        assert_eq!(of_vector("high"), None);
        assert_eq!(
            [of_number(7.0), of_number(10.0), of_number(11.0), of_number(f64::NAN)],
            [Some(70), Some(100), None, None]
        );
    }
}
