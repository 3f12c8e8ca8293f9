//! `ssh.algos`.

use super::{Rules, of_one, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{Seen, ssh::SshScan},
};

pub(super) const RULES: Rules = &[("ssh.algos", |inputs| of_one(inputs, ssh_algos))];

/// Algorithms without a known weakness (RFC 9142, RFC 8332, SP 800-131A). Names of the same under "@openssh.com" are written out.
const KEY_EXCHANGE: &[&str] = &[
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "curve448-sha512",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group15-sha512",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group17-sha512",
    "diffie-hellman-group18-sha512",
];
const HOST_KEYS: &[&str] = &[
    "ssh-ed25519",
    "ssh-ed448",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
];
const ENCRYPTION: &[&str] = &[
    "chacha20-poly1305@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];
const MACS: &[&str] = &[
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
];

/// `ssh.algos`: only protocol 2, strong algorithms, and nothing to log in with that can be guessed (CSA-CRD-06, IIITA-J10).
#[must_use]
pub fn ssh_algos(facts: &SshScan) -> Judgement {
    let mut weighed = Weighed::default();
    match &facts.banner {
        Seen::Known(banner) if banner.starts_with("SSH-2.0-") => {}
        Seen::Known(banner) => weighed.offences.push(format!("protocol 1 is offered: {banner}")),
        unknown => weighed.gaps.push(format!("banner: {}", unknown.gap().unwrap_or_default())),
    }
    match &facts.algorithms {
        Seen::Known(found) => {
            let lists = [
                ("key exchange", &found.key_exchange, KEY_EXCHANGE),
                ("host key", &found.host_keys, HOST_KEYS),
                ("encryption", &found.encryption, ENCRYPTION),
                ("MAC", &found.macs, MACS),
            ];
            for (what, names, allowed) in lists {
                let offends = |name: &&String| !is_allowed(name, allowed);
                weighed.offences.extend(names.iter().filter(offends).map(|name| format!("{what} {name}")));
                if names.is_empty() {
                    weighed.gaps.push(format!("no {what} is named"));
                }
            }
            weighed.fine.push("strong algorithms only".into());
        }
        unknown => weighed.gaps.push(format!("algorithms: {}", unknown.gap().unwrap_or_default())),
    }
    weigh_methods(&mut weighed, &facts.methods);
    let mut judgement = weighed.judge("strong algorithms, and keys or certificates to log in with");
    if judgement.verdict == Verdict::Pass && facts.methods == Seen::NotTried {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str("; whether passwords are taken was not tried");
    }
    judgement
}

/// Whether a name is no algorithm of any of these lists.
pub(super) fn is_weak(name: &str) -> bool {
    ![KEY_EXCHANGE, HOST_KEYS, ENCRYPTION, MACS].iter().any(|allowed| is_allowed(name, allowed))
}

/// CSA-CRD-06, CSA-COM-07: what is asked for at the prompt of `keyboard-interactive` is a password, or added to one.
fn weigh_methods(weighed: &mut Weighed, methods: &Seen<Vec<String>>) {
    match methods {
        Seen::Known(methods) if methods.is_empty() => weighed.offences.push("it lets in without any credential".into()),
        Seen::Known(methods) => {
            let is_typed = |name: &&String| matches!(name.as_str(), "password" | "keyboard-interactive");
            weighed.offences.extend(methods.iter().filter(is_typed).map(|name| format!("{name} is offered")));
            weighed.fine.push(format!("to log in: {}", methods.join(", ")));
        }
        Seen::Unknown(why) => weighed.gaps.push(format!("ways of logging in: {why}")),
        Seen::NotTried => {}
    }
}

/// Names that are no algorithms are signals of extensions (RFC 8308 section 2.1, OpenSSH's strict key exchange, Dropbear's guess); a host certificate is as good as
/// its key.
fn is_allowed(name: &str, allowed: &[&str]) -> bool {
    let is_signal =
        matches!(name, "ext-info-s" | "ext-info-c" | "kexguess2@matt.ucc.asn.au") || name.starts_with("kex-strict-");
    let bare = name.strip_suffix("-cert-v01@openssh.com").unwrap_or(name);
    is_signal || allowed.contains(&name) || allowed.contains(&bare)
}
