//! Files of others become evidence: configurations of brokers, hosts, firewalls and radios, what other scanners print, components of
//! products, secrets in files.
//!
//! [`read`] recognises a file and makes [`Piece`]s of it, [`subjects`] says which of them belong together; [`sbom::Feed`] and
//! [`secrets::Scanner`] work on many files. The rules that judge the facts are in `portreeve-assurance`.
//!
//! *Invariants*
//! - Sans-I/O: whoever calls reads the files.
//! - No secret of a file is in what comes out: it is said that there is one, and of what kind.
//! - What is not followed, such as an include, is said; what a file leaves out is the software's default, and said to be.

mod broker;
mod error;
mod firewall;
mod format;
mod host;
mod imports;
mod lines;
mod piece;
pub mod sbom;
pub mod secrets;
mod settings;
mod wifi;
mod yaml;
mod zigbee;

pub use error::IntakeError;
pub use format::{Format, NoFormat};
pub use imports::CertificateReader;
pub use piece::{Piece, Subject, subjects};

/// Largest file that is read as one, bytes.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Most things of a kind (listeners, networks, hosts) of one file.
pub const THINGS_MAX: usize = 256;
/// Most lines of lists (rights, sockets, settings) of one file.
pub const LIST_MAX: usize = 10_000;

/// Reads a file: as `declared`, or as what its name and content say that it is. `certificate` reads a certificate in DER, as the caller's
/// own probes do, for what scanners hand on.
///
/// # Errors
/// [`IntakeError`]: a file that is too large, of no known format, or not what it is said to be, with line and column.
pub fn read(
    name: &str,
    bytes: &[u8],
    declared: Option<Format>,
    certificate: CertificateReader<'_>,
) -> Result<Vec<Piece>, IntakeError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(IntakeError::large(name));
    }
    let text = lines::text(name, bytes)?;
    let Some(format) = declared.or_else(|| Format::recognise(name, text)) else {
        return Err(IntakeError::Unknown { file: lines::shown(name) });
    };
    let file = lines::File { name, text };
    let one = |piece: Result<Piece, IntakeError>| piece.map(|piece| vec![piece]);
    match format {
        Format::Mosquitto => one(broker::mosquitto::config(&file)),
        Format::BrokerAcl => one(broker::acl::list(&file)),
        Format::Emqx => one(broker::emqx::config(&file)),
        Format::VerneMq => one(broker::vernemq::config(&file)),
        Format::Sshd => one(settings::sshd(&file)),
        Format::Bluetoothd => one(settings::bluetoothd(&file)),
        Format::Sysctl => one(settings::sysctl(&file)),
        Format::SystemdUnit => one(settings::unit(&file)),
        Format::SystemdSecurity => one(host::exposure(&file)),
        Format::Sockets => one(host::sockets(&file)),
        Format::Hostapd => one(wifi::hostapd::config(&file)),
        Format::HostapdKeys => one(wifi::hostapd::keys(&file)),
        Format::WpaSupplicant => one(wifi::supplicant::config(&file)),
        Format::NetworkManager => one(wifi::network_manager::config(&file)),
        Format::Nftables => one(firewall::nftables::ruleset(&file)),
        Format::Iptables => one(firewall::iptables::ruleset(&file)),
        Format::Zigbee2Mqtt => one(zigbee::config(&file)),
        Format::Testssl => imports::testssl::output(&file, certificate),
        Format::Sslyze => imports::sslyze::output(&file, certificate),
        Format::Nmap => imports::nmap::output(&file),
    }
}
