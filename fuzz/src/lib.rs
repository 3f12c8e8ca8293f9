//! One function per parser that strangers reach, or that reads what a crash left. Each takes any bytes and panics if a
//! property of the parser fails.
//!
//! The same functions run in two ways: under libFuzzer (`fuzz_targets/`, feature `libfuzzer`) and, on a stable
//! compiler as part of the tests, over the files of `corpus/` and many seeded damages of each (`tests/replay.rs`).
//!
//! *Invariant:* [`TARGETS`] lists them all; the tests check that each has a libFuzzer stub and a corpus.

mod alert;
mod assurance;
mod detect;
mod enrolment;
mod foreign;
mod intake;
mod inventory;
mod ledger;
mod mqtt;
mod probe;
mod respond;
mod sbom;
mod store;
mod tls;
mod topic;

pub use alert::{alert_records, alert_settings, smtp_reply};
pub use assurance::{audit_answers, audit_evidence, audit_files, audit_report, audit_scope};
pub use detect::detect_baselines;
pub use enrolment::{
    allow_list, allow_list_devices, csr_intake, endorsement_certificate, est_answer, est_body, maker_certificate,
    ocsp_request, root_material, tpm_key_area, tpm_question, trust_bundle,
};
pub use foreign::{config_toml, leaf_certificate, policy_text, proxy_header, signing_request};
pub use intake::{intake_file, intake_sbom, intake_secrets};
pub use inventory::inventory_file;
pub use ledger::{ledger_bundle, ledger_line, ledger_page, ledger_tail, ledger_texts, witness_request};
pub use mqtt::{mqtt_connect, mqtt_packet_v4, mqtt_packet_v5, provisioning_session};
pub use probe::{
    client_records, coap_message, discovery_answer, login_answers, server_certificate, server_datagrams, server_flight,
    server_words, service_greeting,
};
pub use respond::{case_export, response_records, response_settings};
pub use sbom::sbom;
pub use store::log_operations;
pub use tls::tls_records;
pub use topic::topic_filter;

/// A fuzz target: any bytes in, a panic if a property does not hold.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus folder and stub.
pub const TARGETS: &[(&str, Target)] = &[
    ("mqtt_packet_v4", mqtt_packet_v4),
    ("mqtt_packet_v5", mqtt_packet_v5),
    ("mqtt_connect", mqtt_connect),
    ("provisioning_session", provisioning_session),
    ("topic_filter", topic_filter),
    ("proxy_header", proxy_header),
    ("leaf_certificate", leaf_certificate),
    ("signing_request", signing_request),
    ("config_toml", config_toml),
    ("policy_text", policy_text),
    ("tls_records", tls_records),
    ("log_operations", log_operations),
    ("csr_intake", csr_intake),
    ("est_answer", est_answer),
    ("est_body", est_body),
    ("ocsp_request", ocsp_request),
    ("maker_certificate", maker_certificate),
    ("allow_list", allow_list),
    ("allow_list_devices", allow_list_devices),
    ("trust_bundle", trust_bundle),
    ("inventory_file", inventory_file),
    ("endorsement_certificate", endorsement_certificate),
    ("tpm_key_area", tpm_key_area),
    ("tpm_question", tpm_question),
    ("ledger_texts", ledger_texts),
    ("ledger_bundle", ledger_bundle),
    ("ledger_tail", ledger_tail),
    ("ledger_page", ledger_page),
    ("ledger_line", ledger_line),
    ("witness_request", witness_request),
    ("sbom", sbom),
    ("root_material", root_material),
    ("response_settings", response_settings),
    ("response_records", response_records),
    ("case_export", case_export),
    ("alert_settings", alert_settings),
    ("alert_records", alert_records),
    ("smtp_reply", smtp_reply),
    ("detect_baselines", detect_baselines),
    ("audit_report", audit_report),
    ("audit_scope", audit_scope),
    ("audit_answers", audit_answers),
    ("audit_evidence", audit_evidence),
    ("audit_files", audit_files),
    ("server_flight", server_flight),
    ("client_records", client_records),
    ("coap_message", coap_message),
    ("discovery_answer", discovery_answer),
    ("server_words", server_words),
    ("server_datagrams", server_datagrams),
    ("server_certificate", server_certificate),
    ("service_greeting", service_greeting),
    ("intake_file", intake_file),
    ("intake_sbom", intake_sbom),
    ("intake_secrets", intake_secrets),
    ("login_answers", login_answers),
];
