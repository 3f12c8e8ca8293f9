//! Everything that can be learnt of a TLS server by asking, with few connections: what it chooses is not offered again, so each
//! thing that it accepts costs one, and what it refuses costs one together.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use futures_util::future::{join, join_all};
use portreeve_assurance::evidence::{
    GROUPS, Listing, SIGNATURES, Seen,
    certificate::Chain,
    suites::SUITES,
    tls::{ClassicFacts, Order, TlsScan, Version, VersionFacts},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    ask::{Answer, Asker, Carrier, Part, Refusal, Taken, read_flight},
    flight::{Flight, KeyExchangeKind, ServerHello, kind_of},
    hello::{FALLBACK_SCSV, Hello, extension},
    records::Alert,
    sealed::{self, Sealed},
};
use crate::{
    certificate::{Expected, certificate_facts, chain_facts},
    dial::{Connection, Dialer, Gap, Received},
};

/// Suites in one hello. Old servers do not look at more than 128.
const HELLO_SUITES_MAX: usize = 100;

/// Whom to look at, and with what to compare.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// The name that it should have; asked for by SNI, if it is no address.
    pub name: Option<ServerName<'static>>,
    /// Trust anchors that its certificate should lead to.
    pub anchors: Vec<CertificateDer<'static>>,
}

/// Scans one port.
pub async fn scan(target: &Target, dialer: &Dialer, random: [u8; 32], now: UnixTime) -> TlsScan {
    let scanner = Scanner { asker: Asker::new(dialer, Carrier::Tcp), server_name: sni(target), random };
    let mut found = join_all(Version::ALL.map(|version| scanner.version(version))).await;
    let best = found.iter().map(|(facts, _)| facts).filter(|facts| facts.accepted.is_true()).map(|facts| facts.version);
    let (best, classic) = (best.max(), newest_classic(&found));
    let (classic, sealed) = join(scanner.classic(classic, best), scanner.sealed(target, best)).await;
    let mut seen = Seen::NotTried;
    if let (Some(sealed), Some((newest, _))) = (sealed, found.last_mut()) {
        (newest.signatures, seen) = (sealed.signatures, sealed.facts);
    }
    scanner.doubt_closed(&mut found).await;
    let (chains, chains_gap) = scanner.chains(target, now);
    TlsScan {
        server_name: scanner.server_name.map(str::to_owned),
        versions: found.into_iter().map(|(facts, _)| facts).collect(),
        classic,
        sealed: seen,
        chains,
        chains_gap,
        effort: dialer.effort(),
    }
}

pub(crate) fn sni(target: &Target) -> Option<&str> {
    match target.name.as_ref()? {
        ServerName::DnsName(name) => Some(name.as_ref()),
        _ => None,
    }
}

pub(crate) type Found = (VersionFacts, Option<(ServerHello, Flight)>);

/// The newest version below TLS 1.3 that is accepted, and what it said first.
fn newest_classic(found: &[Found]) -> Option<(&VersionFacts, &ServerHello, &Flight)> {
    let below = found.iter().rev().filter(|(facts, _)| facts.version < Version::Tls13);
    below.filter_map(|(facts, first)| first.as_ref().map(|(hello, flight)| (facts, hello, flight))).next()
}

/// Asks one server everything.
pub(crate) struct Scanner<'a> {
    pub(crate) asker: Asker<'a>,
    pub(crate) server_name: Option<&'a str>,
    pub(crate) random: [u8; 32],
}

impl Scanner<'_> {
    pub(crate) fn base<'b>(&'b self, version: Version, groups: &'b [u16], signatures: &'b [u16]) -> Hello<'b> {
        Hello {
            version,
            suites: &[],
            groups,
            signatures,
            server_name: self.server_name,
            compression: version < Version::Tls13,
            random: self.random,
            verify_data: &[],
        }
    }

    /// Everything about one version.
    pub(crate) async fn version(&self, version: Version) -> Found {
        let (all_groups, signatures) = (groups_for(version), signatures_for(version));
        let base = self.base(version, &all_groups, &signatures);
        let taken = self.suites(base).await;
        let mut facts = VersionFacts {
            version,
            accepted: accepted(&taken),
            refusal: String::new(),
            suites: taken.listing.clone(),
            order: Seen::NotTried,
            groups: Listing::default(),
            signatures: Listing::default(),
            dh_bits_min: taken.dh_bits_min,
        };
        if taken.first.is_none() {
            facts.refusal = taken.refusal.map_or_else(String::new, |refusal| refusal.to_string());
            return (facts, None);
        }
        let suites = taken.codes();
        facts.order = self.order(base, &suites).await;
        (facts.groups, facts.signatures) =
            join(self.groups(base, &suites, &facts.order), self.signatures(base, &suites)).await;
        (facts, taken.first)
    }

    /// The suites of a version. The likely ones come first and together, so that their order is the server's.
    async fn suites(&self, base: Hello<'_>) -> Taken {
        let (likely, others): (Vec<u16>, Vec<u16>) =
            suites_for(base.version).into_iter().partition(|suite| is_likely(*suite));
        let mut taken = self.asker.take_apart(base, Part::Suites, &likely).await;
        // Whoever refuses the version refuses it whatever is offered.
        let is_over = matches!(taken.refusal, Some(Refusal::Version(_)))
            || taken.refusal == Some(Refusal::Alert(Alert::PROTOCOL_VERSION))
            || taken.listing.gap.is_some();
        if is_over {
            return taken;
        }
        let parts = others.chunks(HELLO_SUITES_MAX).map(|part| self.asker.take_apart(base, Part::Suites, part));
        for more in join_all(parts).await {
            taken.listing.found.extend(more.listing.found);
            taken.listing.gap = taken.listing.gap.or(more.listing.gap);
            taken.first = taken.first.or(more.first);
            taken.dh_bits_min = taken.dh_bits_min.into_iter().chain(more.dh_bits_min).min();
        }
        taken
    }

    /// Who decides: the server, if the reverse order makes no difference.
    async fn order(&self, base: Hello<'_>, suites: &[u16]) -> Seen<Order> {
        let [first, .., _] = suites else { return Seen::Known(Order::One) };
        let reverse: Vec<u16> = suites.iter().rev().copied().collect();
        match self.asker.ask(&Hello { suites: &reverse, ..base }).await {
            Ok(Answer::Chosen(hello, _)) if hello.suite == *first => Seen::Known(Order::Server),
            Ok(Answer::Chosen(hello, _)) if hello.suite == reverse[0] => Seen::Known(Order::Client),
            // Some prefer one algorithm where the client does (ChaCha20 on small devices), and else have their own order.
            Ok(Answer::Chosen(..)) => Seen::Known(Order::Server),
            Ok(Answer::Refused(refusal)) => Seen::Unknown(refusal.to_string()),
            Err(gap) => Seen::Unknown(gap.to_string()),
        }
    }

    async fn groups(&self, base: Hello<'_>, suites: &[u16], order: &Seen<Order>) -> Listing {
        let is_elliptic =
            |suite: &&u16| base.version == Version::Tls13 || kind_of(**suite).0 == KeyExchangeKind::Elliptic;
        let suites: Vec<u16> = suites.iter().filter(is_elliptic).copied().collect();
        // SSL 3.0 has no extensions.
        if suites.is_empty() || base.version == Version::Ssl30 {
            return Listing::default();
        }
        // A server may not use a certificate whose curve is not offered (RFC 8422 section 5.1). So that curve goes last, and what a
        // server likes less than it cannot be seen.
        let needs_curve =
            base.version < Version::Tls13 && suites.iter().all(|suite| name_of(*suite).contains("_ECDSA_"));
        let curve = if needs_curve { self.leaf_curve() } else { None };
        let mut groups = base.groups.to_vec();
        groups.sort_by_key(|group| Some(*group) == curve);
        let mut listing = self.asker.take_apart(Hello { suites: &suites, ..base }, Part::Groups, &groups).await.listing;
        let is_last = curve.is_some() && listing.found.last().map(|code| code.code) == curve;
        if is_last && !self.follows_groups(Hello { suites: &suites, ..base }, &listing, order).await {
            let why = "groups that it likes less than the curve of its certificate cannot be seen";
            listing.gap.get_or_insert_with(|| why.into());
        }
        listing
    }

    /// Whether the client's order of groups decides: asked the other way round, it chooses the other. With one group, it is taken
    /// to be as with suites.
    async fn follows_groups(&self, base: Hello<'_>, listing: &Listing, order: &Seen<Order>) -> bool {
        let reverse: Vec<u16> = listing.found.iter().rev().map(|code| code.code).collect();
        let [first, _, ..] = reverse[..] else { return order.known() == Some(&Order::Client) };
        let answer = self.asker.ask(&Hello { groups: &reverse, ..base }).await;
        matches!(answer, Ok(Answer::Chosen(_, flight)) if flight.key_exchange.group == Some(first))
    }

    /// The curve that every leaf seen so far is on.
    fn leaf_curve(&self) -> Option<u16> {
        let chains = self.asker.chains();
        let facts = certificate_facts(chains.first()?.first()?, UnixTime::since_unix_epoch(Duration::ZERO)).ok()?;
        let name = facts.key.curve?;
        GROUPS.iter().find(|(_, group)| *group == name).map(|(code, _)| *code)
    }

    async fn signatures(&self, base: Hello<'_>, suites: &[u16]) -> Listing {
        match base.version {
            Version::Tls12 => {
                let signed: Vec<u16> = suites.iter().filter(|suite| kind_of(**suite).2).copied().collect();
                let hello = Hello { suites: &signed, ..base };
                if signed.is_empty() {
                    return Listing::default();
                }
                self.asker.take_apart(hello, Part::Signatures, base.signatures).await.listing
            }
            // TLS 1.3 signs behind the encryption; the older versions have one each, which nobody chooses.
            _ => Listing::default(),
        }
    }

    async fn classic(
        &self,
        newest: Option<(&VersionFacts, &ServerHello, &Flight)>,
        best: Option<Version>,
    ) -> Seen<ClassicFacts> {
        let Some((facts, hello, flight)) = newest else {
            let why = "no version below TLS 1.3 is accepted";
            return if best.is_some() { Seen::NotTried } else { Seen::Unknown(why.into()) };
        };
        let suites: Vec<u16> = facts.suites.found.iter().map(|code| code.code).collect();
        let (fallback_refused, early_ccs_refused) =
            join(self.fallback(facts.version, &suites, best), self.early_ccs(facts.version, &suites)).await;
        Seen::Known(ClassicFacts {
            version: facts.version,
            compression: hello.compression,
            heartbeat: hello.has(extension::HEARTBEAT),
            extended_master_secret: hello.has(extension::EXTENDED_MASTER_SECRET),
            secure_renegotiation: hello.has(extension::RENEGOTIATION_INFO),
            ticket: hello.has(extension::SESSION_TICKET),
            client_certificate: flight.requests_certificate,
            fallback_refused,
            early_ccs_refused,
        })
    }

    /// RFC 7507: asked in a version that is not the best one.
    async fn fallback(&self, version: Version, suites: &[u16], best: Option<Version>) -> Seen<bool> {
        if best.is_none_or(|best| best <= version) {
            return Seen::NotTried;
        }
        let (groups, signatures) = (groups_for(version), signatures_for(version));
        let suites: Vec<u16> = suites.iter().copied().chain([FALLBACK_SCSV]).collect();
        let hello = Hello { suites: &suites, ..self.base(version, &groups, &signatures) };
        match self.asker.ask(&hello).await {
            Ok(Answer::Refused(Refusal::Alert(Alert::INAPPROPRIATE_FALLBACK))) => Seen::Known(true),
            Ok(Answer::Chosen(..)) => Seen::Known(false),
            Ok(Answer::Refused(refusal)) => Seen::Unknown(refusal.to_string()),
            Err(gap) => Seen::Unknown(gap.to_string()),
        }
    }

    /// ChangeCipherSpec where the key exchange should be, and a record behind it: a server that takes the first for good finds
    /// the second badly encrypted.
    async fn early_ccs(&self, version: Version, suites: &[u16]) -> Seen<bool> {
        let (groups, signatures) = (groups_for(version), signatures_for(version));
        let hello = Hello { suites, ..self.base(version, &groups, &signatures) };
        let answer = async {
            let mut connection = self.asker.dialer.open().await?;
            connection.send(&hello.to_record()).await?;
            if let Err(refusal) = read_flight(&mut connection).await? {
                return Err(Gap::Odd(refusal.to_string()));
            }
            let [_, major, minor, ..] = hello.to_record()[..] else { return Err(Gap::Odd("no record".into())) };
            let ccs = [20, major, minor, 0, 1, 1];
            let finished = [&[22, major, minor, 0, 32][..], &[0; 32]].concat();
            connection.send(&[&ccs[..], &finished].concat()).await?;
            read_alert(&mut connection).await
        };
        match answer.await {
            // bad_record_mac and decryption_failed: it tried to decrypt.
            Ok(Some(20 | 21)) => Seen::Known(false),
            Ok(_) => Seen::Known(true),
            Err(gap) => Seen::Unknown(gap.to_string()),
        }
    }

    async fn sealed(&self, target: &Target, best: Option<Version>) -> Option<Sealed> {
        let schemes = signatures_for(Version::Tls13);
        if best != Some(Version::Tls13) {
            return None;
        }
        Some(sealed::look(target, &self.asker, &schemes).await)
    }

    /// A server that closes without a word may refuse, or have enough of us. It refuses only if it still answers a good hello.
    pub(crate) async fn doubt_closed(&self, found: &mut [Found]) {
        if !self.asker.is_in_doubt.load(Ordering::Relaxed) {
            return;
        }
        let good = found.iter().rev().find(|(facts, _)| facts.accepted.is_true());
        let is_answering = match good {
            None => false,
            Some((facts, _)) => {
                let (groups, signatures) = (groups_for(facts.version), signatures_for(facts.version));
                let suites: Vec<u16> = facts.suites.found.iter().map(|code| code.code).collect();
                let hello = Hello { suites: &suites, ..self.base(facts.version, &groups, &signatures) };
                matches!(self.asker.ask(&hello).await, Ok(Answer::Chosen(..)))
            }
        };
        if is_answering {
            return;
        }
        let doubt = || "it says nothing, and does not answer a good hello either".to_owned();
        for (facts, _) in found {
            if !facts.accepted.is_true()
                && [Refusal::Closed, Refusal::Silent].iter().any(|refusal| facts.refusal == refusal.to_string())
            {
                facts.accepted = Seen::Unknown(doubt());
            }
            for listing in [&mut facts.suites, &mut facts.groups, &mut facts.signatures] {
                listing.gap.get_or_insert_with(doubt);
            }
        }
    }

    pub(crate) fn chains(&self, target: &Target, now: UnixTime) -> (Vec<Chain>, Option<String>) {
        let expected = Expected { name: target.name.as_ref(), anchors: &target.anchors, now };
        let (mut chains, mut gap) = (Vec::new(), None);
        for chain in self.asker.chains() {
            let chain: Vec<CertificateDer<'_>> = chain.into_iter().map(CertificateDer::from).collect();
            match chain_facts(&chain, &expected) {
                Ok(facts) => chains.push(facts),
                Err(malformed) => gap = Some(malformed.to_string()),
            }
        }
        if chains.is_empty() && gap.is_none() {
            gap = Some("no certificate was presented".into());
        }
        (chains, gap)
    }
}

/// Reads until an alert or the end.
async fn read_alert(connection: &mut Connection<'_>) -> Result<Option<u8>, Gap> {
    let mut arrived = Vec::new();
    while arrived.len() < 7 {
        match connection.receive().await? {
            Received::Bytes(bytes) => arrived.extend(bytes),
            Received::End => break,
        }
    }
    match arrived[..] {
        [21, 3, _, 0, 2, _, description, ..] => Ok(Some(description)),
        [] => Ok(None),
        _ => Err(Gap::Odd("it went on as if nothing had happened".into())),
    }
}

fn accepted(taken: &Taken) -> Seen<bool> {
    match (&taken.first, &taken.listing.gap) {
        (Some(_), _) => Seen::Known(true),
        (None, Some(gap)) => Seen::Unknown(gap.clone()),
        (None, None) => Seen::Known(false),
    }
}

fn name_of(suite: u16) -> &'static str {
    SUITES.iter().find(|(code, _)| *code == suite).map_or("", |(_, name)| *name)
}

fn is_of_13(suite: u16) -> bool {
    matches!(suite, 0x00c6 | 0x00c7 | 0x1301..=0x1305)
}

/// The suites that a version can have. Those with a hash in their name came with TLS 1.2 (RFC 5246 section 7.4.2).
pub(crate) fn suites_for(version: Version) -> Vec<u16> {
    let is_new = |suite: u16| {
        let name = name_of(suite);
        ["_SHA256", "_SHA384", "_CCM", "_CCM_8", "_OMAC", "_DRAFT"].iter().any(|end| name.ends_with(end))
    };
    let fits = |suite: &u16| match version {
        Version::Tls13 => is_of_13(*suite),
        Version::Tls12 => !is_of_13(*suite),
        _ => !is_of_13(*suite) && !is_new(*suite),
    };
    let mut suites: Vec<u16> = SUITES.iter().map(|(code, _)| *code).filter(fits).collect();
    // Elliptic before finite-field, authenticated encryption before CBC: what a client that knows what it wants would say.
    suites.sort_by_key(|suite| {
        let name = name_of(*suite);
        (!name.contains("ECDHE"), !name.contains("DHE"), !(name.contains("GCM") || name.contains("CHACHA20")))
    });
    suites
}

/// Suites that servers in use are likely to have: at most [`HELLO_SUITES_MAX`].
pub(crate) fn is_likely(suite: u16) -> bool {
    let name = name_of(suite);
    let is_usual = ["TLS_ECDHE_RSA_", "TLS_ECDHE_ECDSA_", "TLS_DHE_RSA_", "TLS_RSA_WITH_", "TLS_PSK_WITH_"]
        .iter()
        .any(|start| name.starts_with(start));
    let is_rare = ["ARIA", "CAMELLIA", "SEED", "IDEA", "NULL", "EXPORT", "_DES_", "DRAFT", "MD5"]
        .iter()
        .any(|part| name.contains(part));
    is_of_13(suite) || (is_usual && !is_rare)
}

/// RFC 8446 section 4.2.7 and RFC 8422; below TLS 1.3 without finite-field groups, which would change the exchange (RFC 7919).
pub(crate) fn groups_for(version: Version) -> Vec<u16> {
    let fits = |group: &u16| match version {
        Version::Tls13 => *group >= 0x0017,
        _ => *group <= 0x001e,
    };
    GROUPS.iter().map(|(code, _)| *code).filter(fits).collect()
}

pub(crate) fn signatures_for(version: Version) -> Vec<u16> {
    // RFC 8446 section 4.2.3: what TLS 1.3 can sign with, and two that it must not.
    let fits = |scheme: &u16| match version {
        Version::Tls13 => matches!(scheme, 0x0201 | 0x0401 | 0x0403 | 0x0503 | 0x0603 | 0x0804..),
        _ => *scheme < 0x0900,
    };
    let mut schemes: Vec<u16> = SIGNATURES.iter().map(|(code, _)| *code).filter(fits).collect();
    schemes.reverse();
    schemes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::hello::RENEGOTIATION_SCSV;

    #[test]
    fn every_suite_is_offered_once_in_hellos_that_old_servers_read() {
        let offered = suites_for(Version::Tls12).len() + suites_for(Version::Tls13).len();
        assert_eq!(offered, SUITES.len());
        for version in Version::ALL {
            let likely = suites_for(version).into_iter().filter(|suite| is_likely(*suite)).count();
            assert!((2..=HELLO_SUITES_MAX).contains(&likely), "{version}: {likely}");
        }
        assert!(suites_for(Version::Tls10).iter().all(|suite| !name_of(*suite).contains("GCM")));
        assert!(!SUITES.iter().any(|(code, _)| [FALLBACK_SCSV, RENEGOTIATION_SCSV].contains(code)));
    }
}
