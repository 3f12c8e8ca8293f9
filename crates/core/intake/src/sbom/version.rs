//! Which of two versions is the newer, by the rules of their ecosystem. What these do not decide is `None`, and said to be open.

use std::{cmp::Ordering, str::FromStr as _};

use semver::Version as Semantic;

/// Compares two versions of an ecosystem of OSV, such as "crates.io" or "Debian:12".
pub(super) fn compare(ecosystem: &str, one: &str, other: &str) -> Option<Ordering> {
    let base = ecosystem.split(':').next().unwrap_or_default();
    match base {
        "crates.io" | "npm" | "Go" | "Hex" | "Pub" | "SwiftURL" | "GitHub Actions" | "SemVer" => {
            Some(semantic(one)?.cmp_precedence(&semantic(other)?))
        }
        "PyPI" => {
            let read = |text: &str| pep440_rs::Version::from_str(text).ok();
            Some(read(one)?.cmp(&read(other)?))
        }
        "Debian" | "Ubuntu" => Some(debian(one, other)),
        // Numbers between points are compared alike everywhere; words are not.
        _ => numeric(one, other),
    }
}

/// With fewer than three numbers, the others are 0.
fn semantic(text: &str) -> Option<Semantic> {
    let text = super::bare(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let missing = 2_usize.checked_sub(core.matches('.').count())?;
    Semantic::parse(&format!("{core}{}{rest}", ".0".repeat(missing))).ok()
}

fn numeric(one: &str, other: &str) -> Option<Ordering> {
    let read =
        |text: &str| super::bare(text).split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<u64>>>();
    let (mut one, mut other) = (read(one)?, read(other)?);
    let length = one.len().max(other.len());
    one.resize(length, 0);
    other.resize(length, 0);
    Some(one.cmp(&other))
}

/// Debian's order (deb-version(7)): epoch, upstream version, revision.
fn debian(one: &str, other: &str) -> Ordering {
    let ((epoch, upstream, revision), (other_epoch, other_upstream, other_revision)) = (parts(one), parts(other));
    epoch.cmp(&other_epoch).then_with(|| part(upstream, other_upstream)).then_with(|| part(revision, other_revision))
}

fn parts(text: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, text),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// In turns: what is no digit, in an order in which `~` is before the end and letters before the rest; then a number.
fn part(mut one: &str, mut other: &str) -> Ordering {
    loop {
        let ((word, rest), (other_word, other_rest)) =
            (split(one, |c| !c.is_ascii_digit()), split(other, |c| !c.is_ascii_digit()));
        let ((number, rest), (other_number, other_rest)) =
            (split(rest, |c| c.is_ascii_digit()), split(other_rest, |c| c.is_ascii_digit()));
        let order = words(word, other_word).then_with(|| digits(number, other_number));
        if order != Ordering::Equal || (rest.is_empty() && other_rest.is_empty()) {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
}

fn split(text: &str, is_in: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_in(c)).unwrap_or(text.len()))
}

fn words(one: &str, other: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => (0, 0),
        None => (1, 0),
        Some(c) if c.is_ascii_alphabetic() => (2, u32::from(c)),
        Some(c) => (3, u32::from(c)),
    };
    let (mut one, mut other) = (one.chars(), other.chars());
    loop {
        let (left, right) = (one.next(), other.next());
        let order = weight(left).cmp(&weight(right));
        if order != Ordering::Equal || left.is_none() {
            return order;
        }
    }
}

/// Numbers of any length.
fn digits(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is older than the next; those of Debian were given to `dpkg --compare-versions`.
    #[test]
    fn versions_are_in_the_order_of_their_ecosystem() {
        for (ecosystem, versions) in [
            ("crates.io", &["0.9", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0", "1.2", "1.10.0"][..]),
            ("Go", &["v1.2.3", "v1.2.4+incompatible", "v1.10.0"]),
            ("PyPI", &["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1!0.1"]),
            (
                "Debian:12",
                &["1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-1+deb12u1", "1.0a-1", "1.0+x-1", "1.1-1", "1.10-1", "2:0.1-1"],
            ),
            ("Maven", &["1.9", "1.10", "2"]),
        ] {
            for (index, one) in versions.iter().enumerate() {
                for (other_index, other) in versions.iter().enumerate() {
                    assert_eq!(
                        compare(ecosystem, one, other),
                        Some(index.cmp(&other_index)),
                        "{ecosystem}: {one} {other}"
                    );
                }
            }
        }
        assert_eq!(compare("Maven", "1.0-jre", "1.0"), None);
        assert_eq!(compare("crates.io", "1.2.3.4", "1.2.3"), None);
        assert_eq!(compare("crates.io", "1.0.0+a", "1.0.0+b"), Some(Ordering::Equal));
        assert_eq!(compare("Debian", "1.0-1", "0:1.00-01"), Some(Ordering::Equal));
    }
}
