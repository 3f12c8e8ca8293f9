//! Whether a name and its group keep to the inventory's rules, however they come into the registry (CSA-ACT-04).

use portreeve_config::Inventory;

/// Which rule of the inventory a name or group breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// The name does not look as names must.
    #[error("`{name}` does not match `{pattern}`, as new names must here (inventory.name_pattern)")]
    Pattern {
        /// The name.
        name: String,
        /// The pattern in force.
        pattern: String,
    },
    /// The beginning of the name is reserved to another group.
    #[error("names that begin with `{prefix}.` are for the group `{group}` (inventory.namespaces)")]
    Namespace {
        /// What stands before the first dot.
        prefix: String,
        /// To whom it is reserved.
        group: String,
    },
}

/// Whether a new identity may have this name.
///
/// # Errors
/// [`NamingError::Pattern`].
pub(super) fn check_name(rules: &Inventory, name: &str) -> Result<(), NamingError> {
    if rules.name_pattern.matches(name) {
        return Ok(());
    }
    Err(NamingError::Pattern { name: name.to_owned(), pattern: rules.name_pattern.to_string() })
}

/// Whether an identity of this name, new or not, may be in this group; no group is empty.
///
/// # Errors
/// [`NamingError::Namespace`].
pub(super) fn check_group(rules: &Inventory, name: &str, group: &str) -> Result<(), NamingError> {
    let Some((prefix, _)) = name.split_once('.') else { return Ok(()) };
    match rules.namespaces.get(prefix) {
        Some(owner) if owner != group => {
            Err(NamingError::Namespace { prefix: prefix.to_owned(), group: owner.clone() })
        }
        _ => Ok(()),
    }
}

/// Whether a new identity may have this name in this group.
///
/// # Errors
/// The first rule that it breaks.
pub(super) fn check(rules: &Inventory, name: &str, group: &str) -> Result<(), NamingError> {
    check_name(rules, name)?;
    check_group(rules, name, group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pattern: &str, namespaces: &[(&str, &str)]) -> Inventory {
        let namespaces = namespaces.iter().map(|(prefix, group)| ((*prefix).into(), (*group).into())).collect();
        Inventory { name_pattern: pattern.parse().unwrap(), namespaces }
    }

    /// CSA-ACT-04: a name that breaks the rule is not given.
    #[test]
    fn a_name_that_does_not_match_is_not_given() {
        let rules = rules("lamp-[0-9]{2}", &[]);
        assert_eq!(check(&rules, "lamp-01", ""), Ok(()));
        assert!(check(&rules, "lamp-1", "").is_err());
        assert_eq!(check(&Inventory::default(), "Any.name_-1", "any"), Ok(()));
    }

    #[test]
    fn a_namespace_is_for_one_group() {
        let rules = rules(".*", &[("plant7", "plant-7")]);
        for (name, group) in
            [("plant7.pump-1", "plant-7"), ("plant7", "x"), ("plant8.pump-1", "x"), ("a.plant7.b", ""), ("lamp", "")]
        {
            assert_eq!(check(&rules, name, group), Ok(()), "{name} in {group}");
        }
        for group in ["", "plant-8", "PLANT-7"] {
            assert!(check(&rules, "plant7.pump-1", group).is_err(), "{group}");
        }
    }
}
