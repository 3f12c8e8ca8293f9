//! A ClientHello in short.

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_assurance::evidence::{Code, printable, rogue::ClientOffer, tls::Version};

use crate::tls::{client::ClientHello, hello::wire_version};

/// What is kept of the digest, hexadecimal digits.
const DIGEST_CHARS: usize = 16;

/// What a client offers.
#[must_use]
pub fn offer(hello: &ClientHello) -> ClientOffer {
    let listed = |version: &Version| {
        let wire = wire_version(*version, false);
        // Without a list, a client means that version and those before it, and does not say how far back.
        if hello.versions.is_empty() { wire == hello.legacy_version } else { hello.versions.contains(&wire) }
    };
    let versions: Vec<Version> = Version::ALL.into_iter().filter(listed).collect();
    let (suites, extensions) = (plain(&hello.suites), plain(&hello.extensions));
    let newest = versions.last().map_or("unknown", |version| version.name());
    let shape = format!(
        "{newest} s{} e{} {}",
        suites.len(),
        extensions.len(),
        fingerprint(&[&suites, &extensions, &plain(&hello.signatures)])
    );
    ClientOffer {
        suites: suites.into_iter().map(Code::suite).collect(),
        groups: plain(&hello.groups).into_iter().map(Code::group).collect(),
        signatures: plain(&hello.signatures).into_iter().map(Code::signature).collect(),
        server_name: hello.server_name.as_deref().map(printable),
        protocols: hello.protocols.iter().map(|protocol| printable(protocol)).collect(),
        extensions,
        versions,
        shape,
    }
}

/// Without the values that clients make up so that servers get used to unknown ones (RFC 8701).
fn plain(codes: &[u16]) -> Vec<u16> {
    codes.iter().copied().filter(|code| code & 0x0f0f != 0x0a0a || code >> 8 != code & 0xff).collect()
}

fn fingerprint(lists: &[&[u16]]) -> String {
    let mut bytes = Vec::new();
    for list in lists {
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        sorted.iter().for_each(|code| bytes.extend(code.to_be_bytes()));
        // GREASE: no list has it, so it ends one.
        bytes.extend([0x0a, 0x0a]);
    }
    let mut digest = hex::encode(digest(&SHA256, &bytes));
    digest.truncate(DIGEST_CHARS);
    digest
}
