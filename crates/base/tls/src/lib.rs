//! TLS as Portreeve speaks it: the one set of algorithms, the server side with mutual authentication, the client side.
//!
//! The main type is [`ServerTls`]: a rustls configuration whose certificate and trust anchors can be replaced while it
//! is in use, and which asks a [`LeafGate`] — the registry — about every client. [`client_config`] is its counterpart
//! for our own clients, and [`Records`] one connection of either. This is the only crate that implements rustls's
//! `danger` traits.
//!
//! *Invariants*
//! - Every configuration comes from [`provider`]: TLS 1.2 and 1.3, AEAD suites with forward secrecy, approved groups
//!   (ISVS-4.1.1, ISVS-4.1.2, GLOSSARY-P1, GLOSSARY-P2). There is no setting that adds to the list,
//!   but one: [`ClientKeys`] lets clients prove that they hold RSA keys. Servers of others, to which the hub connects
//!   ([`outbound_client_config`]), may have certificates of RSA. An auditor ([`inspecting_client_config`]) speaks whatever is to be
//!   seen, and relies on nothing.
//! - A client without a certificate does not get through (ISVS-4.2.3, CSA-COM-03, CSA-SCN-01, IIITA-J7). One
//!   configuration, [`ServerTls::enrolment_config`], also hears who has none of ours yet; and no device ever comes to a
//!   [witness](witness_server_config).
//! - Sessions are never resumed: a ticket would outlive a revocation. No tickets, no session store, no early data.
//! - A refused client learns that its certificate was not accepted and nothing else; the caller learns why from
//!   [`Refusal`].
//! - The gate is asked only about a certificate whose key the peer has proved to hold. So nobody can find out the state
//!   of a stranger's certificate, or have refusals recorded against it, by presenting a copy.

mod client;
mod error;
mod held;
mod inspect;
mod material;
mod memo;
mod policy;
mod records;
mod refusal;
mod server;
mod verifier;

pub use client::{
    client_config, enrolment_client_config, outbound_client_config, system_anchors, unverified_client_config,
};
pub use error::TlsError;
pub use held::{HeldCredentials, HeldKey};
pub use inspect::{
    Inspected, Inspector, check_server_chain, check_server_name, inspecting_client_config,
    inspecting_client_config_for, inspecting_server_config,
};
pub use material::{Credentials, Presentable, certificates_from_pem, key_from_pem};
pub use policy::provider;
pub use records::{Flow, PARTIAL_BYTES_MAX, Records, Side};
pub use refusal::{GateRefusal, Refusal};
pub use server::{ServerTls, witness_server_config};
pub use verifier::{ClientKeys, LeafGate};
