//! Packet filters: chains of rules, as both printers have them.

pub(crate) mod iptables;
pub(crate) mod nftables;

use std::collections::BTreeMap;

use portreeve_assurance::evidence::config::firewall::{Accept, FilterChain, Hook};

use crate::LIST_MAX;

/// How deep chains may send packets to chains.
const JUMPS_MAX: usize = 16;
/// Most rules that are walked for one chain: chains may send packets to one chain many times.
const STEPS_MAX: usize = 100_000;

/// What a rule does with a packet that it matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Fate {
    Accept,
    Drop,
    Jump(String),
    Return,
    /// The next rule.
    #[default]
    Next,
}

/// A rule, or one entry of a map of verdicts.
#[derive(Clone, Debug, Default)]
struct Rule {
    /// Which packets.
    when: Accept,
    fate: Fate,
    is_logging: bool,
    is_limiting: bool,
    /// Whether it matches fewer packets than `when` says, such as new ones or those of one family.
    is_narrow: bool,
}

/// A chain, with its rules in their order.
#[derive(Clone, Debug, Default)]
struct Chain {
    rules: Vec<Rule>,
    hook: Option<Hook>,
    is_policy_drop: bool,
}

/// Chains of a table by their names.
type Chains = BTreeMap<String, Chain>;

/// The chains at hooks, with what the chains behind them accept.
fn resolve(table: &str, chains: &Chains) -> Vec<FilterChain> {
    let at_hooks = chains.iter().filter_map(|(name, chain)| Some((name, chain, chain.hook?)));
    at_hooks
        .map(|(name, chain, hook)| {
            let mut walk = Walk {
                chains,
                steps: 0,
                found: FilterChain {
                    table: table.to_owned(),
                    name: name.clone(),
                    hook,
                    drops_by_default: chain.is_policy_drop,
                    is_logging: false,
                    is_limiting: false,
                    accepts: Vec::new(),
                },
            };
            walk.chain(chain, &Accept::default(), 0);
            walk.found
        })
        .collect()
}

struct Walk<'a> {
    chains: &'a Chains,
    steps: usize,
    found: FilterChain,
}

impl Walk<'_> {
    /// Walks a chain that packets reach which meet `when`. True: none comes back from it.
    fn chain(&mut self, chain: &Chain, when: &Accept, depth: usize) -> bool {
        let mut some_came_back = false;
        for rule in &chain.rules {
            self.steps += 1;
            if self.steps > STEPS_MAX || self.found.accepts.len() >= LIST_MAX || depth > JUMPS_MAX {
                let other = vec!["more rules than are read".to_owned()];
                self.found.accepts.push(Accept { other, ..Accept::default() });
                return true;
            }
            self.found.is_logging |= rule.is_logging;
            self.found.is_limiting |= rule.is_limiting;
            let both = both(when, &rule.when);
            let is_for_all = both == Accept::default() && !rule.is_narrow && !rule.is_limiting && !some_came_back;
            match &rule.fate {
                Fate::Accept => {
                    self.found.accepts.push(both);
                    if is_for_all {
                        self.found.drops_by_default = false;
                        return true;
                    }
                }
                Fate::Drop if is_for_all => {
                    self.found.drops_by_default = true;
                    return true;
                }
                Fate::Drop | Fate::Next => {}
                Fate::Return if rule.when == Accept::default() && !rule.is_narrow => return false,
                // What follows accepts fewer than it says, which is the safe side; but what drops the others does not drop these.
                Fate::Return => some_came_back = true,
                Fate::Jump(name) => {
                    let before = self.found.drops_by_default;
                    let is_end = self.jump(name, &both, depth);
                    if is_end && is_for_all {
                        return true;
                    }
                    // It decided on some packets only.
                    self.found.drops_by_default = before;
                }
            }
        }
        false
    }

    fn jump(&mut self, name: &str, when: &Accept, depth: usize) -> bool {
        let Some(chain) = self.chains.get(name) else {
            let other = vec![format!("chain {name}, which is not there")];
            self.found.accepts.push(Accept { other, ..when.clone() });
            return false;
        };
        self.chain(chain, when, depth + 1)
    }
}

/// What meets both. Lists are alternatives; where both have one, the later is kept and the earlier told.
fn both(one: &Accept, other: &Accept) -> Accept {
    let mut all = other.clone();
    all.is_established |= one.is_established;
    all.is_loopback |= one.is_loopback;
    all.is_control |= one.is_control;
    all.transport = all.transport.or(one.transport);
    for (mine, theirs) in [(&mut all.from, &one.from), (&mut all.to, &one.to)] {
        mine.extend(theirs.iter().cloned());
    }
    if all.ports.is_empty() {
        all.ports.clone_from(&one.ports);
    } else if !one.ports.is_empty() && one.ports != all.ports {
        all.other.push("two conditions on the port".to_owned());
    }
    all.other.extend(one.other.iter().cloned());
    all
}
