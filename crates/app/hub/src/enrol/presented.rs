use std::net::IpAddr;

use portreeve_types::IdentityName;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::Claim;
use crate::DeviceIdentity;

/// What an applicant has presented by the end of its TLS handshake; its claim follows from that and from what it says.
#[derive(Clone)]
pub struct Presented {
    /// Whose certificate it is, and the certificate.
    certificate: Option<(DeviceIdentity, CertificateDer<'static>)>,
    /// Somebody else's certificate, the leaf first; its key was shown.
    foreign: Vec<CertificateDer<'static>>,
    source: IpAddr,
}

impl Presented {
    /// `identity` is whose `chain` is, if it is one of ours.
    #[must_use]
    pub fn new(identity: Option<DeviceIdentity>, chain: &[CertificateDer<'static>], source: IpAddr) -> Self {
        let foreign = if identity.is_none() { chain.to_vec() } else { Vec::new() };
        Self { certificate: identity.zip(chain.first().cloned()), foreign, source }
    }

    /// Whether it came without a certificate of ours.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.certificate.is_none()
    }

    /// Whose certificate it is, if it is one of ours.
    #[must_use]
    pub fn name(&self) -> Option<&IdentityName> {
        self.certificate.as_ref().map(|(identity, _)| identity.name())
    }

    /// Where from.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// How the applicant shows to be entitled; `code` is a name and what was typed for it. A code counts before a
    /// certificate: who has to begin anew may still hold one. `None`: in no way at all.
    #[must_use]
    pub fn claim(self, code: Option<(String, Zeroizing<String>)>, may_be_listed: bool) -> Option<Claim> {
        if let Some((name, code)) = code {
            return Some(Claim::Code { name, code });
        }
        if let Some((identity, leaf)) = self.certificate {
            return Some(Claim::Certificate { identity, leaf });
        }
        if !self.foreign.is_empty() {
            return Some(Claim::Maker { chain: self.foreign });
        }
        may_be_listed.then_some(Claim::Listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_code_counts_first_and_whoever_has_nothing_claims_nothing() {
        let code = || Some(("lamp".to_owned(), Zeroizing::new("AAAAA".to_owned())));
        let foreign = Presented::new(None, &[CertificateDer::from(vec![0])], SOURCE);
        let nobody = Presented::new(None, &[], SOURCE);
        assert!(foreign.is_stranger() && nobody.is_stranger());
        assert!(matches!(foreign.clone().claim(code(), true), Some(Claim::Code { .. })));
        assert!(matches!(foreign.claim(None, true), Some(Claim::Maker { .. })));
        assert!(matches!(nobody.clone().claim(code(), false), Some(Claim::Code { .. })));
        assert!(matches!(nobody.clone().claim(None, true), Some(Claim::Listed)));
        assert!(nobody.claim(None, false).is_none());
    }
}
