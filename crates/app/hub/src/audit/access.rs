//! What the policy permits (ISVS-4.2.2, CSA-COM-01).

use std::{cmp::Reverse, collections::HashMap};

use portreeve_assurance::evidence::{
    Seen,
    hub::{AccessPolicy, Grant},
    printable,
};
use portreeve_policy::Audience;
use portreeve_types::Kind;

use crate::{
    Hub,
    policies::hash_of,
    registry::{Census, is_in_service},
};

/// Broad permissions in one answer.
const WIDE_MAX: usize = 200;

/// Identities in service: all, and devices.
type Counts = (u64, u64);

/// How many there are of each audience.
#[derive(Default)]
struct Audiences {
    everyone: Counts,
    groups: HashMap<String, Counts>,
    identities: HashMap<String, Counts>,
}

impl Audiences {
    fn of(census: &Census) -> Self {
        let mut audiences = Self::default();
        for row in census.identities.iter().filter(|row| is_in_service(row)) {
            let device = u64::from(row.kind == Kind::Device);
            let add = |counts: &mut Counts| *counts = (counts.0 + 1, counts.1 + device);
            add(&mut audiences.everyone);
            add(audiences.identities.entry(row.name.to_string()).or_default());
            if !row.group.is_empty() {
                add(audiences.groups.entry(row.group.clone()).or_default());
            }
        }
        audiences
    }

    fn count(&self, audience: Audience<'_>) -> Counts {
        let found = match audience {
            Audience::Everyone => Some(&self.everyone),
            Audience::Group(name) => self.groups.get(name),
            Audience::Identity(name) => self.identities.get(name),
        };
        found.copied().unwrap_or_default()
    }
}

impl Hub {
    pub(super) fn access_facts(&self) -> AccessPolicy {
        let (policy, audiences) = (self.policy(), Audiences::of(&self.registry.census()));
        let mut wide: Vec<_> = policy.wide().map(|wide| (wide, audiences.count(wide.to))).collect();
        wide.sort_by_key(|(wide, counts)| (wide.is_conditional, Reverse(*counts), wide.topics));
        let grant = |(wide, (identities, devices)): &(portreeve_policy::Wide<'_>, Counts)| Grant {
            id: printable(wide.id.as_bytes()),
            to: match wide.to {
                Audience::Everyone => "everyone".to_owned(),
                Audience::Group(name) => format!("group {}", printable(name.as_bytes())),
                Audience::Identity(name) => format!("identity {}", printable(name.as_bytes())),
            },
            to_everyone: wide.to == Audience::Everyone,
            topics: wide.topics.map(|topics| printable(topics.as_bytes())),
            conditional: wide.is_conditional,
            publishes: wide.publishes,
            identities: *identities,
            devices: *devices,
        };
        let nobody = policy.audiences().filter(|(_, audience)| audiences.count(*audience).0 == 0);
        AccessPolicy {
            policies: policy.len() as u64,
            sha256: hash_of(policy.sources()),
            wide: wide.iter().take(WIDE_MAX).map(grant).collect(),
            wide_more: wide.len().saturating_sub(WIDE_MAX) as u64,
            shadowed: policy.shadowed().iter().map(|(id, by)| format!("{id} by {by}")).collect(),
            idle: nobody.map(|(id, _)| &**id).collect(),
            warnings: policy.warnings().iter().map(ToString::to_string).collect(),
            // Decisions are cached where they are needed, and not counted by policy.
            never_used: Seen::Unknown("the hub does not count by which policy somebody was let in".into()),
        }
    }
}
