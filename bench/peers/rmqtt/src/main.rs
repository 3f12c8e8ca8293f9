//! RMQTT with one listener, MQTT over mutual TLS, and nothing else: `rmqtt-host PORT BUNDLE`.
//!
//! The server program of that project needs Kafka, protobuf and OpenSSL to build and loads plug-ins for access control and
//! counters; this is the same broker library at its lightest, with the allocator that the program has.

use std::{env, error::Error, num::NonZeroU16};

use rmqtt::{
    context::ServerContext,
    net::{Builder, tls_provider},
    server::MqttServer,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CONNECTIONS_MAX: usize = 100_000;
const HANDSHAKES_MAX: usize = 10_000;
/// Its sessions send and take so many unacknowledged messages; its own program's default is 16.
const INFLIGHT_MAX: NonZeroU16 = NonZeroU16::new(100).unwrap();
/// Its default of 1000 drops messages that the other brokers keep.
const QUEUE_MAX: usize = 100_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, bundle] = arguments.as_slice() else { return Err("usage: rmqtt-host PORT BUNDLE".into()) };
    let port: u16 = port.parse()?;
    let file = |name: &str| Some(format!("{bundle}/{name}.pem"));
    tls_provider::default_provider().install_default().map_err(|_| "another TLS provider is installed")?;

    let listener = Builder::new()
        .name("tls")
        .laddr(([127, 0, 0, 1], port).into())
        .nodelay(true)
        .backlog(4096)
        .max_connections(CONNECTIONS_MAX)
        .max_handshaking_limit(HANDSHAKES_MAX)
        .max_inflight(INFLIGHT_MAX)
        .max_mqueue_len(QUEUE_MAX)
        .tls_cross_certificate(true)
        .tls_client_ca_certs(file("ca"))
        .tls_cert(file("cert"))
        .tls_key(file("key"))
        .bind()?
        .tls()?;
    // Its busy check refuses connections while the machine is loaded, which a measurement does on purpose.
    let context = ServerContext::new().busy_check_enable(false).build().await;
    MqttServer::new(context).listener(listener).build().run().await?;
    Ok(())
}
