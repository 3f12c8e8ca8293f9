//! Who is at the other end of the administration socket, and what it may do.

use std::collections::BTreeMap;

use portreeve_config::Role;
use portreeve_hub::Actor;

/// The account that may do everything on this machine anyway.
pub(crate) const ROOT: u32 = 0;
/// What stands before the number of a user without a name, which no name begins with: it holds a space.
const NAMELESS: &str = "user ";

/// The peer with user id `uid`, as the kernel tells it: the hub's own user and root are administrators, other local
/// users have the role that `admin.operators` gives to their name. `passwd` is the user table.
///
/// # Errors
/// The peer's name, if it has no role.
pub(crate) fn actor(uid: u32, own_uid: u32, operators: &BTreeMap<String, Role>, passwd: &str) -> Result<Actor, String> {
    let names: Vec<&str> = names_of(uid, passwd).collect();
    let shown = names.first().map_or_else(|| format!("{NAMELESS}{uid}"), |name| (*name).to_owned());
    if uid == own_uid || uid == ROOT {
        return Ok(Actor { name: shown, role: Role::Administrator });
    }
    let found = names.iter().find_map(|name| operators.get_key_value(*name));
    found.map(|(name, role)| Actor { name: name.clone(), role: *role }).ok_or(shown)
}

/// The role of the user who was called `shown` by [`actor`], as things are now.
pub(crate) fn role_of(shown: &str, own_uid: u32, operators: &BTreeMap<String, Role>, passwd: &str) -> Option<Role> {
    let named = accounts(passwd).find(|(name, _)| *name == shown).map(|(_, uid)| uid);
    let uid = named.or_else(|| shown.strip_prefix(NAMELESS)?.parse().ok())?;
    actor(uid, own_uid, operators, passwd).ok().map(|actor| actor.role)
}

/// Every name of a user id; accounts may share one.
fn names_of(uid: u32, passwd: &str) -> impl Iterator<Item = &str> {
    accounts(passwd).filter(move |(_, id)| *id == uid).map(|(name, _)| name)
}

/// Names and user ids.
fn accounts(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nhub:x:900:900::/:/bin/false\nann:x:1000:1000::/home/ann:/bin/sh\n\
                          bob:x:1001:1001::/home/bob:/bin/sh\nann-alias:x:1000:1000::/:/bin/sh\nbroken line\n:x:1002::::\n";

    fn role_of(uid: u32, operators: &[(&str, Role)]) -> Result<Role, String> {
        let operators = operators.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect();
        actor(uid, 900, &operators, PASSWD).map(|actor| actor.role)
    }

    /// The default row is refusal.
    #[test]
    fn who_may_what() {
        let operators = [("ann", Role::Operator), ("carol", Role::Administrator)];
        assert_eq!(role_of(900, &operators), Ok(Role::Administrator));
        assert_eq!(role_of(0, &operators), Ok(Role::Administrator));
        assert_eq!(role_of(1000, &operators), Ok(Role::Operator));
        assert_eq!(role_of(1001, &operators), Err("bob".into()));
        assert_eq!(role_of(4711, &operators), Err("user 4711".into()));
        assert_eq!(role_of(1002, &[("", Role::Administrator)]), Err("user 1002".into()));
    }

    /// Looked at later, by name, it is the role that the user would have now.
    #[test]
    fn a_role_is_found_again_by_name() {
        let operators = [("ann".to_owned(), Role::Operator)].into();
        let again = |shown| super::role_of(shown, 900, &operators, PASSWD);
        assert_eq!(again("ann"), Some(Role::Operator));
        assert_eq!(again("ann-alias"), Some(Role::Operator), "the same account");
        for owner in ["hub", "root", "user 900"] {
            assert_eq!(again(owner), Some(Role::Administrator), "{owner}");
        }
        for nobody in ["bob", "carol", "user 4711", "user x", "user ", ""] {
            assert_eq!(again(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn the_second_name_of_an_account_counts_too() {
        assert_eq!(role_of(1000, &[("ann-alias", Role::Viewer)]), Ok(Role::Viewer));
    }
}
