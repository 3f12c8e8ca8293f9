use super::Review;
use crate::{
    Inputs, Judgement,
    evidence::config::firewall::{Accept, FilterChain, FirewallPolicy, Flow, Hook, Ruleset},
};

const EXPECTED: &str = "what is not declared is dropped on the way in and through, and told; MQTT passes the filter";

/// Ports of MQTT: in clear, over TLS, and WebSocket of either as brokers have it.
const MQTT_PORTS: [u16; 4] = [1883, 8883, 8083, 8084];

/// `cfg.firewall`: what passes a packet filter (IOTSF-2.4.7.2, IIITA-N3, IIITA-N5, IIITA-N7, IIITA-N9, IIITA-J1, CSA-SNT-04, CSA-SNT-05,
/// CSA-SNT-12, CSA-SNT-14, CSA-OPA-04, CSA-OPA-09, CSA-CLS-02, CSA-CLS-12, CSA-COM-05).
pub(super) fn firewall(inputs: &Inputs<'_>) -> Judgement {
    match inputs.one().and_then(|facts| Ok((facts, inputs.declared()?))) {
        Ok((facts, policy)) => judge(&facts, policy.as_ref()),
        Err(judgement) => judgement,
    }
}

fn judge(ruleset: &Ruleset, policy: Option<&FirewallPolicy>) -> Judgement {
    let mut review = Review::default();
    for hook in [Hook::Input, Hook::Forward] {
        let chains: Vec<&FilterChain> = ruleset.chains.iter().filter(|chain| chain.hook == hook).collect();
        let name = name_of(hook);
        let declared = policy.map(|policy| if hook == Hook::Input { &policy.input } else { &policy.forward });
        if chains.is_empty() {
            review.weighed.offences.push(format!("no chain filters {name}"));
            continue;
        }
        for family in ["ip", "ip6"] {
            review_family(&mut review, ruleset, &chains, family, name);
        }
        // A packet passes only if every chain at the hook lets it pass, so one that drops by default is enough.
        let guards = chains.iter().filter(|chain| chain.drops_by_default);
        guards.for_each(|guard| review_accepts(&mut review, guard, declared));
        if !chains.iter().any(|chain| chain.is_logging) {
            review.weighed.offences.push(format!("{name}: nothing is logged"));
        }
    }
    if !ruleset.chains.iter().any(|chain| chain.is_limiting) {
        review.part("no rule bounds rates or connections");
    }
    if policy.is_none() {
        review.part("which flows are meant was not declared");
    }
    review.unread(&ruleset.unread);
    review.fine(format!("{}: dropped by default on the way in and through", ruleset.file));
    review.judge(EXPECTED)
}

fn review_family(review: &mut Review, ruleset: &Ruleset, chains: &[&FilterChain], family: &str, name: &str) {
    let is_of =
        |chain: &&&FilterChain| chain.table.split(' ').next().is_some_and(|found| found == family || found == "inet");
    if chains.iter().filter(is_of).any(|chain| chain.drops_by_default) {
        return;
    }
    // iptables and ip6tables print one family each.
    if chains.iter().filter(is_of).count() == 0 && ruleset.software.starts_with("iptables") {
        return review.gap(format!("{name}: what is filtered of {family} was not given"));
    }
    review.weighed.offences.push(format!("{name}: what no rule of {family} names passes"));
}

const fn name_of(hook: Hook) -> &'static str {
    match hook {
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
    }
}

fn review_accepts(review: &mut Review, chain: &FilterChain, declared: Option<&Vec<Flow>>) {
    let name = name_of(chain.hook);
    let new = |accept: &&Accept| !accept.is_established && !accept.is_loopback && !accept.is_control;
    let mut used = vec![false; declared.map_or(0, Vec::len)];
    for accept in chain.accepts.iter().filter(new) {
        let said = say(accept);
        if !accept.other.is_empty() {
            review.gap(format!("{name}: {said} is not understood"));
            continue;
        }
        let is_everything = accept.transport.is_none() && accept.ports.is_empty();
        if is_everything && accept.from.is_empty() && accept.to.is_empty() {
            review.weighed.offences.push(format!("{name}: {said} passes"));
        } else if is_mqtt(accept) && accept.from.is_empty() {
            review.weighed.offences.push(format!("{name}: MQTT passes from everywhere"));
        } else if let Some(flows) = declared {
            match cover(accept, flows, &mut used) {
                true => {}
                false => review.weighed.offences.push(format!("{name}: {said} passes and is not declared")),
            }
        }
    }
    for (flow, _) in declared.into_iter().flatten().zip(&used).filter(|(_, is_used)| !**is_used) {
        review
            .weighed
            .offences
            .push(format!("{name}: {:?} {} is declared and does not pass", flow.transport, flow.port).to_lowercase());
    }
}

fn is_mqtt(accept: &Accept) -> bool {
    accept.ports.iter().any(|(first, last)| MQTT_PORTS.iter().any(|port| (first..=last).contains(&port)))
}

/// Whether all that a rule lets pass is declared. Marks the flows that it is.
fn cover(accept: &Accept, flows: &[Flow], used: &mut [bool]) -> bool {
    let may = |wanted: &Option<String>, had: &[String]| {
        wanted.as_ref().is_none_or(|wanted| had.iter().any(|one| one == wanted))
    };
    let mut covered = 0_u32;
    for (flow, used) in flows.iter().zip(used) {
        let is_in = accept.ports.iter().any(|(first, last)| (first..=last).contains(&&flow.port));
        if accept.transport == Some(flow.transport)
            && is_in
            && may(&flow.from, &accept.from)
            && may(&flow.to, &accept.to)
        {
            covered += 1;
            *used = true;
        }
    }
    let asked: u32 =
        accept.ports.iter().map(|(first, last)| u32::from(*last) + 1 - u32::from((*first).min(*last))).sum();
    asked > 0 && covered >= asked
}

fn say(accept: &Accept) -> String {
    let list = |what: &str, names: &[String]| {
        if names.is_empty() { String::new() } else { format!(" {what} {}", names.join(", ")) }
    };
    let transport =
        accept.transport.map_or("everything".to_owned(), |transport| format!("{transport:?}").to_lowercase());
    let ports: Vec<String> = accept
        .ports
        .iter()
        .take(4)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    let ports = if ports.is_empty() { String::new() } else { format!(" {}", ports.join(", ")) };
    format!("{transport}{ports}{}{}{}", list("from", &accept.from), list("to", &accept.to), list("if", &accept.other))
}
