use super::Review;
use crate::{
    Inputs, Judgement,
    evidence::{
        config::{
            Said,
            broker::{Access, AclRule, Authorization, BrokerAcl, BrokerConfig, BrokerListener, Who},
        },
        tls::Version,
    },
};

const EXPECTED: &str = "every listener in TLS 1.2 or newer with certificates of clients, nobody anonymous, rights by a list, bounds, logs, \
                        bridges in TLS";

/// The largest packet that a broker may take, bytes.
const PACKET_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `cfg.broker`: the secure profile of a broker (ISVS-4.2.2, ISVS-4.2.3, CSA-SCN-01, CSA-SNT-04, CSA-COM-01, CSA-COM-04, CSA-COM-06).
pub(super) fn broker(inputs: &Inputs<'_>) -> Judgement {
    match (inputs.declared::<BrokerConfig>(), inputs.declared::<BrokerAcl>()) {
        (Err(judgement), _) | (_, Err(judgement)) => judgement,
        (Ok(Some(config)), Ok(acl)) => of_config(&config, acl.as_ref()),
        (Ok(None), Ok(Some(acl))) => {
            let mut review = Review::default();
            review_acl(&mut review, &acl);
            review.part("the broker's own configuration was not given");
            review.judge(EXPECTED)
        }
        (Ok(None), Ok(None)) => {
            inputs.one::<BrokerConfig>().map_or_else(|judgement| judgement, |config| of_config(&config, None))
        }
    }
}

fn of_config(config: &BrokerConfig, acl: Option<&BrokerAcl>) -> Judgement {
    let mut review = Review::default();
    if config.listeners.is_empty() {
        review.gap(format!("{} has no listener", config.file));
    }
    config.listeners.iter().for_each(|listener| review_listener(&mut review, config, listener));
    review_authorization(&mut review, config, acl);
    review_limits(&mut review, config);
    let file = &config.file;
    review.offend_if(!config.is_logging.value, file, &config.is_logging, "connections and errors are not logged");
    for bridge in &config.bridges {
        let name = &bridge.name.value;
        review.offend_if(!bridge.is_tls, file, &bridge.name, format!("bridge {name} is in clear"));
        let what = format!("bridge {name} does not check the other broker's name");
        review.offend_if(bridge.is_tls && bridge.is_unchecked.value, file, &bridge.is_unchecked, what);
    }
    for what in &config.default_passwords {
        review.offend(file, what, format!("the password of {} is the one that comes with the software", what.value));
    }
    review.unread(&config.unread);
    review.fine(format!("{}: {} listeners as they should be", config.software, config.listeners.len()));
    review.judge(EXPECTED)
}

fn review_listener(review: &mut Review, config: &BrokerConfig, listener: &BrokerListener) {
    let (file, address) = (&config.file, &listener.address.value);
    let BrokerListener {
        is_tls,
        version_min,
        certificate_required,
        name_from_certificate,
        anonymous,
        connections_max,
        ..
    } = listener;
    if is_tls.value {
        match version_min.value {
            Some(version) if version < Version::Tls12 => {
                review.offend(file, version_min, format!("{address} accepts {version}"))
            }
            Some(_) => {}
            None => review
                .gap(format!("{address}: its oldest version of TLS cannot be told ({file}, {})", version_min.place())),
        }
        let what = format!("{address} asks no certificate of clients");
        review.offend_if(!certificate_required.value && !listener.is_local, file, certificate_required, what);
        let what = format!("{address}: clients with certificates choose their names themselves");
        review.offend_if(certificate_required.value && !name_from_certificate.value, file, name_from_certificate, what);
    } else {
        review.offend_if(!listener.is_local, file, &listener.address, format!("{address} is in clear"));
    }
    // Who has a certificate that gives the name is not anonymous, whatever else is allowed.
    let is_known = certificate_required.value && name_from_certificate.value;
    review.offend_if(anonymous.value && !is_known, file, anonymous, format!("{address} lets anybody in"));
    let what = format!("{address} bounds no number of connections");
    review.offend_if(connections_max.value.is_none(), file, connections_max, what);
}

fn review_authorization(review: &mut Review, config: &BrokerConfig, acl: Option<&BrokerAcl>) {
    let file = &config.file;
    for said in &config.authorization {
        match &said.value {
            Authorization::Nothing => review.offend(file, said, "no list bounds what clients publish and subscribe"),
            Authorization::AllowedByDefault => review.offend(file, said, "what no rule names is allowed"),
            Authorization::External(name) => review.part(format!("{name} decides on topics, and was not asked")),
            Authorization::File(name) => match acl.filter(|acl| is_same_file(&acl.file, name)) {
                Some(acl) => review_acl(review, acl),
                None => review.part(format!("{name}, which has the rights, was not given")),
            },
        }
    }
    if config.authorization.is_empty() {
        review.gap("it is not said what decides on topics");
    }
}

/// By the last part of the path: the file may lie elsewhere here.
fn is_same_file(one: &str, other: &str) -> bool {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    last(one) == last(other)
}

fn review_acl(review: &mut Review, acl: &BrokerAcl) {
    for rule in &acl.rules {
        review_rule(review, &acl.file, rule);
    }
    review.fine(format!("{}: {} rights", acl.file, acl.rules.len()));
}

fn review_rule(review: &mut Review, file: &str, rule: &AclRule) {
    let AclRule { line, who, access, topic } = rule;
    let is_wide = ["#", "+/#", "$SYS/#"].contains(&topic.as_str());
    if *access == Access::Deny || !is_wide {
        return;
    }
    let may = match access {
        Access::Read => "subscribe",
        Access::Write => "publish to",
        Access::ReadWrite | Access::Deny => "publish to and subscribe",
    };
    match who {
        Who::Everyone => review.offend(file, &Said::at(*line, ()), format!("everyone may {may} {topic}")),
        Who::Anonymous => {
            review.offend(file, &Said::at(*line, ()), format!("anybody without a name may {may} {topic}"))
        }
        Who::User(name) => {
            review.part(format!("{name} may {may} {topic} ({file}, line {line}), which only people can say is meant"))
        }
    }
}

fn review_limits(review: &mut Review, config: &BrokerConfig) {
    let (file, limits) = (&config.file, &config.limits);
    match limits.packet_bytes_max.value {
        Some(bytes) if bytes <= PACKET_BYTES_MAX => {}
        Some(bytes) => review.offend(file, &limits.packet_bytes_max, format!("packets may have {bytes} bytes")),
        None => review.offend(file, &limits.packet_bytes_max, "the size of packets has no bound"),
    }
    review.offend_if(
        limits.inflight_max.value.is_none(),
        file,
        &limits.inflight_max,
        "messages under way have no bound",
    );
    review.offend_if(limits.queued_max.value.is_none(), file, &limits.queued_max, "messages that wait have no bound");
}
