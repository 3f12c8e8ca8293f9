//! Scans HOST:PORT and prints the facts as JSON: `scan tls|dtls|ssh|ports|mqtt|mqtts HOST:PORT [NAME]`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{error::Error, net::ToSocketAddrs as _};

use portreeve_assurance::checks::ports::CLEAR_PORTS;
use portreeve_probe::{Dialer, Limits, mqtt, ports, ssh, tls};
use rustls_pki_types::{ServerName, UnixTime};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, target, rest @ ..] = &arguments[..] else {
        return Err("usage: scan tls|dtls|ssh|ports|mqtt|mqtts HOST:PORT [NAME]".into());
    };
    let address = target.to_socket_addrs()?.next().ok_or("no such host")?;
    let name = rest.first().map(|name| ServerName::try_from(name.clone())).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let facts = runtime.block_on(async {
        let dialer = Dialer::new(address, Limits::default());
        let target = tls::Target { address, name: name.clone(), anchors: Vec::new() };
        let broker = mqtt::Broker { dialer: &dialer, tls: name.filter(|_| what == "mqtts") };
        match what.as_str() {
            "tls" => serde_json::to_string_pretty(&tls::scan(&target, &dialer, [7; 32], UnixTime::now()).await),
            "dtls" => serde_json::to_string_pretty(&tls::dtls::scan(&target, &dialer, [7; 32], UnixTime::now()).await),
            "ssh" => serde_json::to_string_pretty(&ssh::scan(&dialer).await),
            "ports" => serde_json::to_string_pretty(&ports::scan(&dialer, &CLEAR_PORTS).await),
            "mqtt" | "mqtts" => serde_json::to_string_pretty(&(
                mqtt::access(&broker).await,
                mqtt::malformed(&broker, None).await,
                mqtt::limits(&broker, &mqtt::Identity::nobody("probe"), &mqtt::Load::small("probe")).await,
            )),
            _ => Ok("nothing of that name".to_owned()),
        }
    })?;
    println!("{facts}");
    Ok(())
}
