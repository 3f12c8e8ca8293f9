//! `iptables-save` (iptables-extensions(8)). It prints one family: IPv4, or IPv6 if `ip6tables-save` did it.

use portreeve_assurance::evidence::{
    config::firewall::{Hook, Ruleset},
    ports::Transport,
};

use super::{Chain, Chains, Fate, Rule, resolve};
use crate::{
    IntakeError, Piece,
    lines::{File, head, shown},
};

pub(crate) fn ruleset(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut chains = Chains::new();
    let mut table = "";
    for (line, text) in file.said(&['#']) {
        if let Some(name) = text.strip_prefix('*') {
            table = name;
        } else if table != "filter" || text == "COMMIT" {
            continue;
        } else if let Some(chain) = text.strip_prefix(':') {
            file.expect_list(line, chains.len())?;
            let (name, rest) = head(chain);
            let hook = match name {
                "INPUT" => Some(Hook::Input),
                "FORWARD" => Some(Hook::Forward),
                "OUTPUT" => Some(Hook::Output),
                _ => None,
            };
            chains.insert(shown(name), Chain { rules: Vec::new(), hook, is_policy_drop: head(rest).0 == "DROP" });
        } else if let Some(rule) = text.strip_prefix("-A ") {
            let (name, rest) = head(rule);
            let chain =
                chains.get_mut(&shown(name)).ok_or_else(|| file.error(line, "the chain was not named before"))?;
            file.expect_list(line, chain.rules.len())?;
            chain.rules.push(rule_of(rest));
        } else {
            return Err(file.error(line, "not a line of `iptables-save`"));
        }
    }
    if chains.is_empty() {
        return Err(file.error(1, "there is no table `filter` in it"));
    }
    let is_six = file.text.lines().next().is_some_and(|line| line.contains("ip6tables-save"))
        || file.text.contains("-p ipv6-icmp");
    let facts = Ruleset {
        file: shown(file.name),
        software: if is_six { "iptables-save of IPv6".into() } else { "iptables-save of IPv4".into() },
        chains: resolve(if is_six { "ip6 filter" } else { "ip filter" }, &chains),
        unread: Vec::new(),
    };
    Ok(Piece::of(&facts, file.name, &["cfg.firewall"]))
}

/// Options that say nothing about which packets are meant.
const SILENT: [&str; 8] = [
    "-m",
    "--log-prefix",
    "--log-level",
    "--comment",
    "--reject-with",
    "--limit-burst",
    "--nflog-group",
    "--nflog-prefix",
];

fn rule_of(text: &str) -> Rule {
    let mut rule = Rule::default();
    let mut words = words(text).into_iter().peekable();
    let mut is_not = false;
    while let Some(option) = words.next() {
        if option == "!" {
            is_not = true;
            continue;
        }
        let value = words.next_if(|next| !next.starts_with('-')).unwrap_or_default();
        if std::mem::take(&mut is_not) {
            rule.when.other.push(shown(&format!("! {option} {value}")));
            continue;
        }
        take(&mut rule, &option, &value);
    }
    rule
}

fn take(rule: &mut Rule, option: &str, value: &str) {
    let when = &mut rule.when;
    match option {
        "-j" | "-g" => match value {
            "ACCEPT" => rule.fate = Fate::Accept,
            "DROP" | "REJECT" => rule.fate = Fate::Drop,
            "RETURN" => rule.fate = Fate::Return,
            "LOG" | "NFLOG" => rule.is_logging = true,
            other => rule.fate = Fate::Jump(shown(other)),
        },
        "-i" if value == "lo" => when.is_loopback = true,
        "-s" | "-i" => when.from.push(shown(value)),
        "-d" | "-o" => when.to.push(shown(value)),
        "--match-set" => when.from.push(shown(value)),
        "-p" => match value {
            "tcp" | "6" => when.transport = Some(Transport::Tcp),
            "udp" | "17" => when.transport = Some(Transport::Udp),
            "icmp" | "ipv6-icmp" | "igmp" => when.is_control = true,
            _ => when.other.push(shown(&format!("protocol {value}"))),
        },
        "--dport" | "--dports" => match ports(value) {
            Some(ports) => when.ports = ports,
            None => when.other.push(shown(&format!("ports {value}"))),
        },
        "--ctstate" | "--state" if value.split(',').all(|state| ["RELATED", "ESTABLISHED"].contains(&state)) => {
            when.is_established = true
        }
        "--ctstate" | "--state" if value.split(',').any(|state| state == "NEW") => rule.is_narrow = true,
        "--icmp-type" | "--icmpv6-type" => when.is_control = true,
        "--limit" | "--connlimit-above" | "--hashlimit-above" | "--hashlimit-upto" => rule.is_limiting = true,
        _ if SILENT.contains(&option) => {}
        _ => when.other.push(shown(format!("{option} {value}").trim())),
    }
}

/// `8883,8000:8010`.
fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once(':').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        })
        .collect()
}

/// Words, of which some stand in quotes.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').unwrap_or((inside, "")),
            None => head(rest),
        };
        found.push(word.to_owned());
        rest = behind.trim_start();
    }
    found
}
