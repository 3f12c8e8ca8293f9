use super::{Review, expect_software};
use crate::{
    Inputs, Judgement,
    checks::of_declared,
    evidence::config::{HostRole, Setting, Settings, Software},
};

const EXPECTED: &str = "nothing is forwarded unless the host is the declared gateway, and sources are checked";

/// `cfg.kernel`: whether the kernel forwards between networks (IOTSF-2.4.7.2, IOTSF-2.4.7.3, IIITA-N7, IIITA-N9).
pub(super) fn kernel(inputs: &Inputs<'_>) -> Judgement {
    of_declared(inputs, judge)
}

fn judge(settings: &Settings, role: &HostRole) -> Judgement {
    let mut review = Review::default();
    if !expect_software(&mut review, settings, Software::Sysctl) {
        return review.judge(EXPECTED);
    }
    let (forwards, others): (Vec<&Setting>, Vec<&Setting>) =
        settings.settings.iter().partition(|setting| is_forwarding(&setting.key));
    for setting in forwards {
        let is_bad = setting.said.value != "0" && !role.is_gateway;
        review.offend_if(is_bad, &settings.file, &setting.said, format!("{} = {}", setting.key, setting.said.value));
    }
    for setting in others {
        review_one(&mut review, settings, setting, role);
    }
    for key in ["net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"] {
        if settings.said("", key).is_none() {
            review.gap(format!("{key} is not known"));
        }
    }
    if role.is_gateway {
        let is_bridge_seen =
            settings.said("", "net.bridge.bridge-nf-call-iptables").is_some_and(|said| said.value == "1");
        let note = "frames between ports of a bridge pass by the packet filter, so ports have to be isolated";
        if !is_bridge_seen {
            review.part(note);
        }
    }
    let role = if role.is_gateway { "the declared gateway" } else { "no gateway" };
    review.fine(format!("{}: {role}, and as such should be", settings.file));
    review.judge(EXPECTED)
}

/// Whether a key makes the host a router: for all interfaces, or for one.
fn is_forwarding(key: &str) -> bool {
    key == "net.ipv4.ip_forward"
        || (key.starts_with("net.ipv") && (key.ends_with(".forwarding") || key.ends_with(".mc_forwarding")))
}

fn review_one(review: &mut Review, settings: &Settings, setting: &Setting, role: &HostRole) {
    let Setting { key, said, .. } = setting;
    let value = said.value.as_str();
    let last = key.rsplit('.').next().unwrap_or_default();
    let is_bad = match last {
        // The stricter of `all` and the interface holds, so zero there decides nothing by itself.
        "rp_filter" => key == "net.ipv4.conf.all.rp_filter" && value == "0" && !is_filtered_everywhere(settings),
        "proxy_arp" | "proxy_ndp" => value != "0" && !role.is_gateway,
        _ => false,
    };
    review.offend_if(is_bad, &settings.file, said, format!("{key} = {value}"));
}

fn is_filtered_everywhere(settings: &Settings) -> bool {
    let mut of_interfaces = settings
        .settings
        .iter()
        .filter(|setting| setting.key.starts_with("net.ipv4.conf.") && setting.key.ends_with(".rp_filter"))
        .filter(|setting| !setting.key.contains(".all.") && !setting.key.contains(".lo."))
        .peekable();
    of_interfaces.peek().is_some() && of_interfaces.all(|setting| setting.said.value != "0")
}
