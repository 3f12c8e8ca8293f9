//! CAs that follow one another, as their files tell.

use portreeve_types::UnixMillis;

use crate::{CaName, CaRole};

/// The newest CA of a role that has a certificate: the one that issues. All before it have one as well. `lookup` finds
/// certificates by their files' names.
pub fn newest_ca(role: CaRole, mut lookup: impl FnMut(&str) -> Option<Vec<u8>>) -> CaName {
    let mut newest = role.first();
    while lookup(&newest.successor().certificate_file()).is_some() {
        newest = newest.successor();
    }
    newest
}

/// All CAs of a role that have a certificate, the first one first.
pub fn cas_of(role: CaRole, lookup: impl FnMut(&str) -> Option<Vec<u8>>) -> impl Iterator<Item = CaName> {
    (1..=newest_ca(role, lookup).number).map(move |number| CaName { role, number })
}

/// The root that certifies issuing CAs now: the newest whose time has come. One without a file that says when has none to
/// wait for.
pub fn certifying_root(now: UnixMillis, mut lookup: impl FnMut(&str) -> Option<Vec<u8>>) -> CaName {
    let roots: Vec<_> = cas_of(CaRole::Root, &mut lookup).collect();
    let is_in_use = |root: &&CaName| used_from(**root, &mut lookup) <= now;
    roots.iter().rev().find(is_in_use).copied().unwrap_or(CaRole::Root.first())
}

/// From when on a root certifies. A file that cannot be read holds it back for ever, which `ca show` tells.
pub fn used_from(root: CaName, mut lookup: impl FnMut(&str) -> Option<Vec<u8>>) -> UnixMillis {
    let Some(text) = lookup(&root.use_file()) else { return UnixMillis(0) };
    let millis = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    UnixMillis(millis.unwrap_or(u64::MAX))
}

/// What the one of this number is called, in a series that begins with the plain stem: `hub`, `hub-2`, `hub-3`.
#[must_use]
pub fn name_in_series(stem: &str, number: u32) -> String {
    if number <= 1 { stem.to_owned() } else { format!("{stem}-{number}") }
}

/// The number of a name in a series; `None` for one of another series, or spelt otherwise.
#[must_use]
pub fn number_in_series(stem: &str, name: &str) -> Option<u32> {
    let number = match name.strip_prefix(stem)? {
        "" => 1,
        rest => rest.strip_prefix('-')?.parse().ok()?,
    };
    (name_in_series(stem, number) == name).then_some(number)
}
