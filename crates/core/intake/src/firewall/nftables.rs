//! `nft -j list ruleset` (libnftables-json(5)).

use std::collections::BTreeMap;

use portreeve_assurance::evidence::{
    config::{
        Unread,
        firewall::{Hook, Ruleset},
    },
    ports::Transport,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Chains, Fate, Rule, resolve};
use crate::{
    IntakeError, LIST_MAX, Piece, THINGS_MAX,
    lines::{File, shown},
};

#[derive(Deserialize)]
struct Output {
    nftables: Vec<Map<String, Value>>,
}

/// Family and table.
type Tables = BTreeMap<String, Chains>;

pub(crate) fn ruleset(file: &File<'_>) -> Result<Piece, IntakeError> {
    let output: Output = serde_json::from_str(file.text).map_err(|error| IntakeError::json(file.name, &error))?;
    let mut tables = Tables::new();
    let mut unread = Vec::new();
    let mut version = String::new();
    for object in &output.nftables {
        if let Some(meta) = object.get("metainfo") {
            version = shown(meta.get("version").and_then(Value::as_str).unwrap_or_default());
        } else if let Some(chain) = object.get("chain") {
            put_chain(file, &mut tables, chain)?;
        } else if let Some(rule) = object.get("rule") {
            put_rule(file, &mut tables, rule)?;
        } else if object.contains_key("flowtable") && unread.len() < THINGS_MAX {
            unread.push(Unread::nowhere("a flow table, past which packets go by"));
        }
    }
    let facts = Ruleset {
        file: shown(file.name),
        software: format!("nft {version}").trim_end().to_owned(),
        chains: tables.iter().flat_map(|(table, chains)| resolve(table, chains)).take(1000).collect(),
        unread,
    };
    Ok(Piece::of(&facts, file.name, &["cfg.firewall"]))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn place(value: &Value) -> String {
    shown(&format!("{} {}", text(value, "family"), text(value, "table")))
}

fn put_chain(file: &File<'_>, tables: &mut Tables, chain: &Value) -> Result<(), IntakeError> {
    let chains = tables.entry(place(chain)).or_default();
    file.expect_list(1, chains.len())?;
    let found = chains.entry(shown(text(chain, "name"))).or_default();
    found.is_policy_drop = text(chain, "policy") == "drop";
    found.hook = match text(chain, "hook") {
        "input" => Some(Hook::Input),
        "forward" => Some(Hook::Forward),
        "output" => Some(Hook::Output),
        _ => None,
    };
    // Chains that change addresses or routes filter nothing; those of bridges see frames.
    let is_filter = text(chain, "type") == "filter" && ["ip", "ip6", "inet"].contains(&text(chain, "family"));
    found.hook = found.hook.filter(|_| is_filter);
    Ok(())
}

fn put_rule(file: &File<'_>, tables: &mut Tables, rule: &Value) -> Result<(), IntakeError> {
    let chain = tables.entry(place(rule)).or_default().entry(shown(text(rule, "chain"))).or_default();
    file.expect_list(1, chain.rules.len())?;
    let mut found = Rule::default();
    for statement in rule.get("expr").and_then(Value::as_array).into_iter().flatten() {
        let Some((name, value)) = statement.as_object().and_then(|object| object.iter().next()) else { continue };
        match name.as_str() {
            "vmap" => {
                let rules = verdict_map(&found, value);
                file.expect_list(1, chain.rules.len() + rules.len())?;
                chain.rules.extend(rules);
                return Ok(());
            }
            "match" => matched(&mut found, value),
            "accept" => found.fate = Fate::Accept,
            "drop" | "reject" => found.fate = Fate::Drop,
            "return" => found.fate = Fate::Return,
            "jump" | "goto" => found.fate = Fate::Jump(shown(text(value, "target"))),
            "log" => found.is_logging = true,
            "limit" | "ct count" | "meter" => found.is_limiting = true,
            "queue" | "xt" => found.when.other.push(format!("a statement `{name}`")),
            _ => {}
        }
    }
    chain.rules.push(found);
    Ok(())
}

/// One rule for each entry.
fn verdict_map(before: &Rule, map: &Value) -> Vec<Rule> {
    let key = map.get("key").cloned().unwrap_or_default();
    let entries = map.pointer("/data/set").and_then(Value::as_array);
    let Some(entries) = entries else {
        // A map with a name: what it holds stands elsewhere.
        let mut rule = before.clone();
        rule.when.other.push("a map of verdicts".into());
        rule.fate = Fate::Accept;
        return vec![rule];
    };
    let rules = entries.iter().take(LIST_MAX).filter_map(|entry| {
        let (value, verdict) = (entry.get(0)?, entry.get(1)?.as_object()?);
        let mut rule = before.clone();
        matched(&mut rule, &serde_json::json!({ "op": "==", "left": key, "right": value }));
        rule.fate = match verdict.iter().next()? {
            (name, _) if name == "accept" => Fate::Accept,
            (name, _) if name == "drop" => Fate::Drop,
            (name, value) if name == "jump" || name == "goto" => Fate::Jump(shown(text(value, "target"))),
            _ => Fate::Next,
        };
        Some(rule)
    });
    rules.collect()
}

/// One condition.
fn matched(rule: &mut Rule, condition: &Value) {
    let (left, right) = (condition.get("left").unwrap_or(&Value::Null), condition.get("right").unwrap_or(&Value::Null));
    let is_equal = matches!(text(condition, "op"), "==" | "in" | "");
    let protocol = left.pointer("/payload/protocol").and_then(Value::as_str).unwrap_or_default();
    let field = left.pointer("/payload/field").and_then(Value::as_str).unwrap_or_default();
    let meta = left.pointer("/meta/key").and_then(Value::as_str).unwrap_or_default();
    let is_state = left.pointer("/ct/key").and_then(Value::as_str) == Some("state");
    let when = &mut rule.when;
    let values = values(right);
    if !is_equal {
        return when.other.push(shown(&format!("{protocol}{meta} {field} is not {}", values.join(", "))));
    }
    match (protocol, field) {
        ("tcp" | "udp" | "th", "dport") => {
            when.transport = match protocol {
                "tcp" => Some(Transport::Tcp),
                "udp" => Some(Transport::Udp),
                _ => when.transport,
            };
            match ports(right) {
                Some(ports) => when.ports = ports,
                None => when.other.push(shown(&format!("ports {}", values.join(", ")))),
            }
        }
        ("ip" | "ip6" | "ether", "saddr") => when.from.extend(values),
        ("ip" | "ip6" | "ether", "daddr") => when.to.extend(values),
        ("icmp" | "icmpv6" | "igmp", _) => when.is_control = true,
        ("ip", "protocol") | ("ip6", "nexthdr") => of_protocol(rule, &values),
        _ if is_state && values.iter().all(|state| state == "established" || state == "related") => {
            when.is_established = true
        }
        // New packets are what the other conditions are about.
        _ if is_state && values.iter().any(|state| state == "new") => rule.is_narrow = true,
        _ if is_state => when.is_established = true,
        _ => match meta {
            "iifname" | "iif" if values == ["lo"] => when.is_loopback = true,
            "iifname" | "iif" => when.from.extend(values),
            "oifname" | "oif" => when.to.extend(values),
            "l4proto" => of_protocol(rule, &values),
            "nfproto" | "protocol" | "pkttype" => rule.is_narrow = true,
            _ => when
                .other
                .push(shown(&format!("{protocol}{meta} {field} {}", values.join(", ")).trim().replace("  ", " "))),
        },
    }
}

fn of_protocol(rule: &mut Rule, protocols: &[String]) {
    match protocols.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tcp" | "6"] => rule.when.transport = Some(Transport::Tcp),
        ["udp" | "17"] => rule.when.transport = Some(Transport::Udp),
        ["icmp" | "icmpv6" | "ipv6-icmp" | "igmp" | "1" | "58"] => rule.when.is_control = true,
        _ => rule.when.other.push(shown(&format!("protocols {}", protocols.join(", ")))),
    }
}

/// The right side as texts: a value, a list, a set with or without a name, ranges, networks.
fn values(right: &Value) -> Vec<String> {
    match right {
        Value::String(text) => vec![shown(text)],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(all) => all.iter().take(THINGS_MAX).flat_map(values).collect(),
        Value::Object(object) => match object.iter().next() {
            Some((name, inside)) if name == "set" => values(inside),
            Some((name, inside)) if name == "prefix" => {
                let length = inside.get("len").and_then(Value::as_u64).unwrap_or_default();
                vec![shown(&format!("{}/{length}", text(inside, "addr")))]
            }
            Some((name, inside)) if name == "range" => vec![values(inside).join("-")],
            _ => vec![shown(&right.to_string())],
        },
        Value::Bool(_) | Value::Null => Vec::new(),
    }
}

/// The right side as ports; `None`, if it is a set with a name, or anything else.
fn ports(right: &Value) -> Option<Vec<(u16, u16)>> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    if let Some(port) = port(right) {
        return Some(vec![(port, port)]);
    }
    if let Some(range) = right.get("range").and_then(Value::as_array) {
        let (first, last) = (port(range.first()?)?, port(range.get(1)?)?);
        return (first <= last).then(|| vec![(first, last)]);
    }
    let all = right.get("set")?.as_array()?;
    all.iter()
        .take(THINGS_MAX)
        .map(ports)
        .collect::<Option<Vec<_>>>()
        .map(|lists| lists.into_iter().flatten().collect())
}
