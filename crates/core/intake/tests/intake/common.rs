use portreeve_assurance::{
    Catalogue, CheckId, Envelope, Inputs, Judgement, Sha256,
    evidence::certificate::{CertificateFacts, KeyFacts, SignatureFacts},
    rule,
};
use portreeve_intake::{Piece, Subject, read, subjects};
use portreeve_types::UnixMillis;
use serde_json::Value;

/// 2026-11-23T12:00:00Z.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_435_200_000);

pub(crate) fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Stands in for the reader of the probes: says no more than that there is a certificate of this length.
pub(crate) fn certificate(der: &[u8]) -> Option<CertificateFacts> {
    (der.first() == Some(&0x30)).then(|| CertificateFacts {
        sha256: Sha256::of(der).to_string(),
        key_sha256: String::new(),
        subject: "CN=read".into(),
        issuer: "CN=issuer".into(),
        serial: "01".into(),
        key: KeyFacts { algorithm: "ec".into(), bits: 256, curve: Some("secp256r1".into()) },
        signature: SignatureFacts { algorithm: "ecdsa-sha256".into(), hash: "sha256".into() },
        not_before_s: 1_795_000_000,
        not_after_s: 1_802_776_000,
        lifetime_days: 90,
        days_left: 85,
        has_begun: true,
        names: vec!["dns:localhost".into()],
        extended_key_usages: vec!["server-auth".into()],
        is_ca: false,
        is_self_issued: false,
    })
}

/// The pieces of files, put together.
pub(crate) fn subjects_of(files: &[&str]) -> Vec<Subject> {
    let read = |name: &&str| read(name, &data(name), None, &certificate).unwrap_or_else(|error| panic!("{error}"));
    subjects(files.iter().flat_map(read).collect())
}

/// The evidence of pieces and what was declared, as pairs of kind and data.
pub(crate) fn evidence(target: &str, pieces: &[Piece], declared: &[(&str, Value)]) -> Vec<Envelope> {
    let tool = "portreeve 0.1.0";
    let mut found: Vec<Envelope> = pieces.iter().map(|piece| piece.envelope(target, NOW, tool)).collect();
    found.extend(declared.iter().map(|(kind, data)| Envelope {
        kind: (*kind).to_owned(),
        target: None,
        taken: NOW,
        tool: tool.to_owned(),
        data: data.clone(),
    }));
    found
}

pub(crate) fn judge(check: &str, target: &str, evidence: &[Envelope]) -> Judgement {
    let id: CheckId = check.parse().unwrap();
    let check = Catalogue::embedded().check(&id).unwrap();
    let hash = |envelope: &Envelope| Sha256::of(&envelope.to_bytes().unwrap());
    let evidence: Vec<(Sha256, &Envelope)> = evidence.iter().map(|envelope| (hash(envelope), envelope)).collect();
    let inputs = Inputs { check, target, at: NOW, evidence: &evidence };
    rule(id.as_str()).unwrap()(&inputs)
}
