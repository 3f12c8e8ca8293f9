//! All of the registry at one moment, for whoever examines it. Rows are shared, not copied, and nobody waits while they are looked at.

use std::{collections::BTreeSet, sync::Arc};

use portreeve_pki::Generation;
use portreeve_store::{CredentialRow, IdentityRow};
use portreeve_types::{IdentityId, KeyHash, LifecycleState, UnixMillis};

use super::{Registry, State, enrolment::generation, naming};

/// Everybody, and every certificate.
pub(crate) struct Census {
    /// By name.
    pub(crate) identities: Vec<Arc<IdentityRow>>,
    pub(crate) credentials: Vec<Arc<CredentialRow>>,
    /// Identities whose name another has.
    pub(crate) same_name: BTreeSet<IdentityId>,
    /// Identities one of whose keys is another's, too.
    pub(crate) shared_key: BTreeSet<IdentityId>,
}

impl State {
    /// Nothing here makes two of one name. That there are none is seen from the rows, not from the index.
    fn same_name(&self) -> BTreeSet<IdentityId> {
        let is_named = |row: &IdentityRow| self.names.get(&row.name) == Some(&row.id);
        let others = self.identities.values().filter(|row| !is_named(row));
        others.flat_map(|row| [Some(row.id), self.names.get(&row.name).copied()]).flatten().collect()
    }

    /// The same of keys: whose each is stands in an order of its own.
    fn shared_key(&self) -> BTreeSet<IdentityId> {
        let mut by_key: Vec<(KeyHash, IdentityId)> = self.keys.iter().map(|(id, key)| (*key, *id)).collect();
        by_key.sort_unstable();
        let is_shared = |pair: &&[(KeyHash, IdentityId)]| matches!(pair, [(one, _), (other, _)] if one == other);
        by_key.windows(2).filter(is_shared).flatten().map(|(_, id)| *id).collect()
    }
}

impl Registry {
    pub(crate) fn census(&self) -> Census {
        let state = self.state.read();
        let mut identities: Vec<_> = state.identities.values().cloned().collect();
        let credentials = state.credentials.values().cloned().collect();
        let (same_name, shared_key) = (state.same_name(), state.shared_key());
        drop(state);
        identities.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Census { identities, credentials, same_name, shared_key }
    }

    /// What new names must look like; nothing, if they may be anything.
    pub(crate) fn name_pattern(&self) -> Option<String> {
        let rules = self.rules.load();
        let pattern = rules.name_pattern.to_string();
        (pattern != portreeve_config::NamePattern::default().to_string()).then_some(pattern)
    }

    /// Whether a name, which may be older than the rules, keeps to them: to the pattern, and to the namespaces.
    pub(crate) fn keeps_to_rules(&self, row: &IdentityRow) -> (bool, bool) {
        let (rules, name) = (self.rules.load(), row.name.as_str());
        (naming::check_name(&rules, name).is_ok(), naming::check_group(&rules, name, &row.group).is_ok())
    }

    /// Whether the certificate of this number, which its identity is connected with, should not connect it any more. One that was
    /// followed by another may go on until `superseded_before`.
    pub(crate) fn is_void(
        &self,
        id: IdentityId,
        certificate: Generation,
        issuer: u32,
        superseded_before: UnixMillis,
        now: UnixMillis,
    ) -> bool {
        let state = self.state.read();
        if !state.identities.get(&id).is_some_and(|row| row.state.may_connect())
            || state.withdrawn.contains_key(&issuer)
        {
            return true;
        }
        let rows = state.keys_of(id).filter_map(|key| state.credentials.get(&key));
        // One that is forgotten was over long ago, or gave its key to the next.
        let Some(row) = rows.into_iter().find(|row| generation(row) == certificate && row.issuer == issuer) else {
            return state.newest_used(id).is_none_or(|newest| certificate > newest);
        };
        match row.revoked {
            _ if row.not_after <= now => true,
            Some(at) if state.is_superseded(row) => at < superseded_before,
            revoked => revoked.is_some(),
        }
    }
}

/// Whether somebody is registered and not done with.
pub(crate) fn is_in_service(row: &IdentityRow) -> bool {
    !matches!(row.state, LifecycleState::Revoked | LifecycleState::Retired)
}
