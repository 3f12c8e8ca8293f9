//! Every key there is. A key's type, default, range, unit and text stand here and nowhere else.
//!
//! A limit's text names what happens when it is reached; `CSA-COM-04` asks for throttling per client and globally.

use crate::naming::NamePattern;
use crate::section::section;
use crate::words::{
    CloneResponse, DeviceKey, KeyCustody, LogFormat, LogLevel, Network, Port, QueueOverflow, Role, TwoPlaces,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

section! {
    /// The hub as a whole.
    Hub as "hub" {
        /// More DNS names and addresses under which devices reach this hub. They go into the hub's certificate beside
        /// `localhost`, the loopback addresses and the host name, which are always there.
        names: Vec<String> = Vec::new(), "DNS names and IP addresses", reload;
        /// Threads that carry messages. 0 takes one for each processor core that the hub may use.
        workers: usize = 0, in 0..=1024, "threads", restart;
        /// How long a stopping hub waits for clients to take what is on its way to them.
        drain_s: u64 = 10, in 0..=600, "seconds", reload;
    }
}

section! {
    /// The MQTT listener (always TLS with a client certificate) and how sessions behave.
    Mqtt as "mqtt" {
        /// Where MQTT 3.1.1 and 5.0 clients connect.
        listen: SocketAddr = SocketAddr::new(ANY, 8883), "address and port", restart;
        /// Where devices without an HTTP client ask for their certificates: sessions that are about nothing else, open to
        /// strangers. Empty: nowhere. To switch it on, name an address such as `0.0.0.0:8882`.
        provisioning_listen: Option<SocketAddr> = None, "address and port", restart;
        /// Balancers in front of this hub. A connection from one of these must begin with a PROXY protocol v2 header,
        /// whose source address then counts for rates, limits and the ledger; from anybody else such a header is
        /// refused.
        proxy_protocol_from: Vec<Network> = Vec::new(), "addresses and networks", reload;
        /// How long an accepted and authenticated connection may take to send its CONNECT packet, counted from the
        /// end of the TLS handshake. Then it is closed.
        connect_timeout_s: u64 = 10, in 1..=300, "seconds", reload;
        /// How long a client may leave the hub unable to write to it. Then it is closed: a reader that does not read
        /// would hold memory for ever.
        write_stall_s: u64 = 30, in 1..=3600, "seconds", reload;
        /// The largest keep alive that an MQTT 5.0 client is granted. One that asks for more is told this value
        /// (Server Keep Alive); 0, no keep alive, is left alone. The connection ends after one and a half times the
        /// keep alive without a packet.
        server_keep_alive_s: u16 = 60, in 1..=65535, "seconds", reload;
        /// The largest keep alive that is honoured for an MQTT 3.1.1 client, which cannot be told another value. One
        /// that asks for more is closed after one and a half times this long without a packet.
        keep_alive_v311_max_s: u16 = 65535, in 1..=65535, "seconds", reload;
        /// After this long without traffic the operating system probes the peer (TCP keep-alive), so that a
        /// connection without MQTT keep alive whose peer vanished does not stay.
        tcp_keep_alive_s: u64 = 60, in 1..=7200, "seconds", reload;
        /// The longest session expiry that an MQTT 5.0 client is granted; one that asks for more is told this value.
        session_expiry_max_s: u32 = 604_800, in 0..=4_294_967_294, "seconds", reload;
        /// How long the session of an MQTT 3.1.1 client that connected with clean session 0 outlives its connection.
        session_expiry_v311_s: u32 = 86_400, in 86_400..=4_294_967_294, "seconds", reload;
        /// The longest will delay that is honoured. A longer one is cut to this.
        will_delay_max_s: u32 = 86_400, in 0..=4_294_967_294, "seconds", reload;
        /// The longest message expiry that is honoured, for queued and retained messages alike. Messages without one,
        /// or with a longer one, get this. 0 leaves them as they are.
        message_expiry_max_s: u32 = 0, in 0..=4_294_967_294, "seconds", reload;
        /// What happens to a message for a session whose queue is full: `drop-oldest` drops the oldest queued
        /// message, `reject` refuses the new one. Either is counted.
        queue_overflow: QueueOverflow = QueueOverflow::DropOldest, "word", reload;
        /// Topic aliases that a client may set on its connection (Topic Alias Maximum).
        topic_alias_max: u16 = 10, in 0..=1024, "aliases", reload;
        /// Topic aliases that the hub sets towards a client that allows them; fewer if the client allows fewer.
        topic_alias_out_max: u16 = 32, in 0..=1024, "aliases", reload;
        /// QoS 1 and 2 messages that a client may have on their way to the hub (Receive Maximum). One more is
        /// answered with DISCONNECT 0x93.
        receive_max: u16 = 20, in 1..=65535, "messages", reload;
        /// How often the hub publishes its figures below `$SYS/`, which only identities with a grant that names it
        /// may read. 0 publishes none.
        sys_interval_s: u64 = 10, in 0..=3600, "seconds", reload;
    }
}

section! {
    /// The HTTPS listener for devices, always with a client certificate; it carries MQTT over WebSocket at `/mqtt`.
    DeviceHttps as "device_https" {
        /// Where devices connect with HTTPS and WebSocket.
        listen: SocketAddr = SocketAddr::new(ANY, 8444), "address and port", restart;
        /// Whether MQTT over WebSocket is served at `/mqtt`.
        websocket: bool = true, "truth value", reload;
        /// Web origins (`https://example.org`) whose pages may open the WebSocket. A request that names any other
        /// origin is refused, for a browser sends its user's certificate on behalf of every page; programs other than
        /// browsers name no origin and are not concerned.
        websocket_origins: Vec<String> = Vec::new(), "web origins", reload;
    }
}

section! {
    /// The audit ledger: what happened, signed, in files that others can verify.
    Ledger as "ledger" {
        /// How long operators' names, addresses, and client identifiers of applications can be read in the ledger. They stand in
        /// files beside it, a file a day, which then are deleted; the entries stay, and still prove.
        personal_days: u64 = 365, in 1..=3650, "days", reload;
        /// How long entries are kept. Older ones are let go under a signature that keeps their root and their hashes, 256 at a time
        /// and not much faster than they came, so that a clock that is set wrong does little harm. 0: for ever.
        keep_days: u64 = 0, in 0..=36_500, "days", reload;
        /// Witnesses: others who remember the ledger's head and cosign it, by address and key, such as
        /// `{ "https://witness.example.org:8446" = "witness.example.org+0c1d2e3f+BC…" }`. At most 16.
        witnesses: BTreeMap<String, String> = BTreeMap::new(), "addresses and keys", restart;
        /// The CA certificates that witnesses' HTTPS certificates are verified with, PEM.
        witness_ca: PathBuf = PathBuf::new(), "path", restart;
        /// How often witnesses are asked to cosign.
        witness_every_s: u64 = 60, in 1..=86_400, "seconds", restart;
        /// How long a witness may be silent before that is the event `witness_silent`.
        witness_late_s: u64 = 3600, in 10..=2_592_000, "seconds", reload;
        /// Other hubs' ledgers that this hub is a witness of, by their keys as `portreeve ledger key` prints them there. It
        /// remembers the last head of each and cosigns what continues it, at `https://HUB:8444/witness` (`device_https.listen`).
        /// At most 64.
        watches: Vec<String> = Vec::new(), "keys", restart;
    }
}

section! {
    /// How identities are named, however they come into the registry: one by one, by import, or by enrolling. Names that are
    /// there already stay as they are.
    Inventory as "inventory" {
        /// What a new name must look like: a regular expression for the whole name, such as
        /// `plant[0-9]\.[a-z]+-[0-9]{4}`, of at most 256 bytes. A name that it does not match is refused. Any
        /// name has 1 to 64 of `a-z A-Z 0-9 . _ -` and begins with a letter or digit.
        name_pattern: NamePattern = NamePattern::default(), "regular expression", reload;
        /// Namespaces: what stands before the first `.` of a name, and the group that it is reserved to, such as
        /// `{ plant7 = "plant-7" }`. An identity of such a name is in that group and in no other; one that would not be is
        /// refused. Names of another beginning, or without a `.`, are free.
        namespaces: BTreeMap<String, String> = BTreeMap::new(), "name prefixes and groups", reload;
    }
}

section! {
    /// How devices come to their certificates: EST (RFC 7030) on the device HTTPS listener, or MQTT on
    /// `mqtt.provisioning_listen`.
    Enrolment as "enrolment" {
        /// How long a one-time code is valid from the moment it is made, unless `device code --valid` says otherwise.
        code_valid_s: u64 = 86_400, in 60..=2_592_000, "seconds", reload;
        /// How long the certificate of a device that enrols lives. It renews by itself, so it may be short; a stolen one
        /// is worth something until it ends or is revoked.
        lifetime_s: u64 = 604_800, in 60..=31_536_000, "seconds", reload;
        /// The part of a certificate's life that has to be over before it is renewed. Clients renew at two thirds; one
        /// that asks much earlier is broken or up to something.
        renew_after_percent: u16 = 50, in 0..=90, "percent", reload;
        /// Whether the first certificate by a one-time code needs an operator's consent as well: `portreeve approval`. Who
        /// makes the code and who consents may not be the same person. Each enrolment group has a setting of its own.
        code_approval: bool = false, "truth value", reload;
        /// The kinds of keys that devices get certificates for, the one that they are to make if they can choose first. RSA
        /// is for devices that have nothing else, and only with it here do the listeners verify it (RSA-PSS): without it,
        /// devices that have such certificates stay outside.
        key_algorithms: Vec<DeviceKey> = vec![DeviceKey::EcdsaP256, DeviceKey::EcdsaP384], "kinds of keys", restart;
        /// What happens when a certificate that was renewed before is renewed again with another key, which is what a
        /// copied device does: `alert` refuses and emits an event, `quarantine` also cuts the identity off.
        on_clone: CloneResponse = CloneResponse::Alert, "word", reload;
    }
}

section! {
    /// What happens to identities in the course of time.
    Lifecycle as "lifecycle" {
        /// Days after which an identity that was not used is disabled: it was neither connected nor changed by an operator.
        /// An operator can enable it again. 0: never.
        unused_days_max: u16 = 90, in 0..=3650, "days", reload;
        /// The least firmware version of each group. A device below it, or of which none is known, is the event
        /// `firmware_outdated`, and policies see it: `principal.posture` is "outdated" or "unknown" instead of "current".
        firmware_min: BTreeMap<String, String> = BTreeMap::new(), "groups and versions", reload;
        /// For each group, how long a device may be away before it is the event `heartbeat_missed`, seconds.
        heartbeat_max_s: BTreeMap<String, u64> = BTreeMap::new(), "groups and seconds", reload;
        /// What happens when a device connects while it is connected from another address, as a copy of it would: `ignore`,
        /// `alert`, `refuse` whoever comes later, or `quarantine`. A device that moves from one network to another looks the
        /// same until its old connection is found dead, which its keep alive decides.
        on_two_places: TwoPlaces = TwoPlaces::Alert, "word", reload;
        /// So many days before, an event warns of it.
        unused_warning_days: u16 = 14, in 0..=365, "days", reload;
        /// How long the connections that a device has opened with one certificate may go on when it uses the next. Then they
        /// are ended with DISCONNECT 0xA0. New ones with the older certificate are refused at once.
        superseded_session_s: u64 = 3600, in 0..=2_592_000, "seconds", reload;
    }
}

section! {
    /// What others, who are to rely on the hub's certificates, are told of revocation. The hub itself asks its registry in
    /// every handshake. List and answers are on the device HTTPS listener, at `/pki/devices.crl` and `/pki/ocsp`. A CA that
    /// follows has a list of its own: `/pki/devices-2.crl`, and so on.
    Revocation as "revocation" {
        /// How long a revocation list is good. A new one is made when something changed, and when half of this is over.
        crl_valid_s: u64 = 86_400, in 600..=2_592_000, "seconds", reload;
        /// How long an OCSP answer is good.
        ocsp_valid_s: u64 = 300, in 1..=604_800, "seconds", reload;
        /// The address of the list as it stands in certificates issued from now on, such as
        /// `https://hub.example.org:8444/pki/devices.crl`. The CA that follows writes `devices-2.crl` in its place, and so on.
        /// Empty: none stands there.
        crl_url: String = String::new(), "http or https address", reload;
        /// The same for OCSP, such as `https://hub.example.org:8444/pki/ocsp`.
        ocsp_url: String = String::new(), "http or https address", reload;
    }
}

section! {
    /// Where the private keys of the hub's certificate authority are kept. The first start makes them there.
    /// Passphrases and PINs are read once, at the start, and stand neither here nor in the environment.
    Keys as "keys" {
        /// `file`: files that their permissions protect. `sealed`: files encrypted under a passphrase, so that a copy of the
        /// disk or of a backup is of no use without it. `pkcs11`: a token or hardware security module. `tpm`: a TPM 2.0. The
        /// last two never give a key away. An existing hub moves between `file` and `sealed` with `portreeve ca custody`.
        custody: KeyCustody = KeyCustody::File, "word", restart;
        /// A file whose one line is the passphrase of sealed keys or of keys in a TPM, or the PIN of a token; nobody but the
        /// hub's user may be able to read it. Empty: the systemd credential `portreeve-keys`, and without one a question on the
        /// terminal. Keys in a TPM get along without a passphrase; then nothing is asked.
        passphrase_file: PathBuf = PathBuf::new(), "path", restart;
        /// The PKCS #11 module of the token's vendor, an absolute path. It becomes part of the hub's process.
        pkcs11_module: PathBuf = PathBuf::new(), "path", restart;
        /// How long another root is announced to devices before it certifies. Devices ask for what to trust every 50 days, so
        /// this is longer.
        root_overlap_days: u16 = 90, in 1..=730, "days", reload;
        /// The label of the token. The keys in it are called `root`, `devices` and `hub`, later ones `devices-2` and so on, and
        /// `trust`, so each hub needs a token of its own.
        pkcs11_token: String = String::new(), "token label", restart;
        /// Files and directories that the module reads and writes while the hub runs. The hub confines itself to its data
        /// directory; without these, a module that keeps its token in files cannot reach them.
        pkcs11_paths: Vec<String> = Vec::new(), "absolute paths", restart;
        /// TCP ports that the module may connect to, as that of a network HSM. The hub opens no other TCP connection.
        pkcs11_ports: Vec<Port> = Vec::new(), "TCP ports", restart;
        /// How the TPM is reached: `device:/dev/tpmrm0`, or `swtpm:path=/run/swtpm/socket` for a software TPM.
        tpm_tcti: String = "device:/dev/tpmrm0".to_owned(), "TPM command transmission interface", restart;
    }
}

section! {
    /// Metrics and health: `/metrics`, `/livez`, `/readyz`.
    Metrics as "metrics" {
        /// Where they are served. There is no authentication here, hence a loopback address and no other.
        listen: SocketAddr = SocketAddr::new(LOOPBACK, 9464), "loopback address and port", restart;
    }
}

section! {
    /// Local administration.
    Admin as "admin" {
        /// The administration socket. Empty stands for `admin.sock` in the data directory.
        socket: PathBuf = PathBuf::new(), "path", restart;
        /// Local users other than the hub's own, who is administrator, and what each may do: administrator, operator,
        /// key-manager, release-signer, auditor or viewer. The kernel says who is at the other end of the socket.
        operators: BTreeMap<String, Role> = BTreeMap::new(), "user names and roles", reload;
        /// Whether operations on CAs, such as trusting a maker of devices, need the consent of a second person:
        /// `portreeve approval grant`. Without this, only what a rule of enrolment demands it for does.
        two_persons: bool = false, "truth value", reload;
        /// Whether keys and certificates are the business of key managers alone. Else administrators may handle them, too.
        keys_apart: bool = false, "truth value", reload;
        /// How long a matter waits for approval, and an approval for the device that it was given to.
        approval_valid_s: u64 = 604_800, in 60..=31_536_000, "seconds", reload;
    }
}

section! {
    /// The bounds of everything that could grow. Each has a pair of metrics: `<stem>_limit` is the bound and
    /// `<stem>_used` what is used of it; where the bound is one client's, `_used` is the largest use by any client.
    Limits as "limits" {
        /// Largest MQTT packet, either way (Maximum Packet Size). A larger one from a client is answered with
        /// DISCONNECT 0x95; towards a client, the client's own maximum counts as well and a message that is too large
        /// for it is not sent to it.
        packet_bytes: usize = 262_144, in 1024..=268_435_460, "bytes", reload, metered;
        /// Largest first packet. Until a CONNECT has been accepted nothing larger is read, so that a peer without a
        /// session cannot take memory. A larger one closes the connection.
        connect_bytes: usize = 16_384, in 256..=1_048_576, "bytes", reload, metered;
        /// Levels of a topic or topic filter. One with more is refused: 0x90 for a topic, 0x8F for a filter.
        topic_levels: usize = 32, in 1..=1000, "levels", reload, metered;
        /// Length of a topic or topic filter. A longer one is refused: 0x90 for a topic, 0x8F for a filter.
        topic_bytes: usize = 4096, in 64..=65535, "bytes", reload, metered;
        /// Length of a client identifier. A longer one is refused with CONNACK 0x85.
        client_id_bytes: usize = 256, in 23..=256, "bytes", reload, metered;
        /// User properties of one packet. One with more is answered with DISCONNECT 0x97.
        user_properties: usize = 64, in 0..=4096, "properties", reload, metered;
        /// Topic filters in one SUBSCRIBE or UNSUBSCRIBE packet. One with more is answered with DISCONNECT 0x97.
        filters_per_packet: usize = 256, in 1..=65535, "filters", reload, metered;
        /// Subscriptions of one session. One more is refused with SUBACK 0x97.
        subscriptions_per_session: usize = 1000, in 1..=1_000_000, "subscriptions", reload, metered;
        /// Subscriptions of all sessions together. One more is refused with SUBACK 0x97.
        subscriptions_total: usize = 1_000_000, in 1..=100_000_000, "subscriptions", reload, metered;
        /// QoS 1 and 2 messages on their way to one client; fewer if the client allows fewer. The next ones wait in
        /// the session's queue.
        inflight_per_session: u16 = 64, in 1..=65535, "messages", reload, metered;
        /// Messages that wait for one session, its client connected or not. When it is full, `mqtt.queue_overflow`
        /// decides.
        queue_messages_per_session: usize = 10_000, in 1..=10_000_000, "messages", reload, metered;
        /// Bytes that wait for one session. When it is full, `mqtt.queue_overflow` decides.
        queue_bytes_per_session: usize = 8_388_608, in 1024..=1_099_511_627_776, "bytes", reload, metered;
        /// Bytes that wait for all sessions together. When it is full, `mqtt.queue_overflow` decides for the session
        /// concerned. The last eighth is kept for sessions for which less than 64 KiB wait.
        queue_bytes_total: usize = 268_435_456, in 1024..=1_099_511_627_776, "bytes", reload, metered;
        /// Retained messages. One on a further topic is refused with 0x97.
        retained_messages: usize = 1_000_000, in 0..=100_000_000, "messages", reload, metered;
        /// Bytes of all retained messages. One that would exceed it is refused with 0x97.
        retained_bytes: usize = 268_435_456, in 0..=1_099_511_627_776, "bytes", reload, metered;
        /// Retained messages that one device has left. One on a further topic is refused with 0x97.
        device_retained_messages: usize = 10_000, in 0..=100_000_000, "messages", reload, metered;
        /// Their bytes. One that would exceed them is refused with 0x97.
        device_retained_bytes: usize = 16_777_216, in 0..=1_099_511_627_776, "bytes", reload, metered;
        /// Retained messages that one gateway or application has left. One on a further topic is refused with 0x97.
        application_retained_messages: usize = 500_000, in 0..=100_000_000, "messages", reload, metered;
        /// Their bytes. One that would exceed them is refused with 0x97.
        application_retained_bytes: usize = 134_217_728, in 0..=1_099_511_627_776, "bytes", reload, metered;
        /// Payload of one retained message. A larger one is refused with 0x97.
        retained_message_bytes: usize = 262_144, in 0..=268_435_460, "bytes", reload, metered;
        /// Sessions, connected or not. A client that would need one more is refused with CONNACK 0x97.
        sessions_total: usize = 100_000, in 1..=10_000_000, "sessions", reload, metered;
        /// Sessions of one device. A further one is refused with CONNACK 0x97.
        sessions_per_device: usize = 4, in 1..=1000, "sessions", reload, metered;
        /// Sessions of one gateway or application. A further one is refused with CONNACK 0x97.
        sessions_per_application: usize = 1000, in 1..=1_000_000, "sessions", reload, metered;
        /// How long one connection may last, however well it behaves. Then the client is disconnected and must show
        /// its certificate again; a connection ends with its certificate in any case.
        connection_age_max_s: u64 = 2_592_000, in 60..=31_536_000, "seconds", reload, metered;
        /// Connections with a finished handshake. A further one is closed.
        connections_total: usize = 100_000, in 1..=10_000_000, "connections", reload, metered;
        /// Connections whose TLS handshake is not finished. When there are that many, a new one takes the place of the
        /// oldest of the source that has most.
        half_open_connections: usize = 4096, in 1..=1_000_000, "connections", reload, metered;
        /// The same, from one source: an IPv4 address or an IPv6 /64 network.
        half_open_per_source: usize = 2048, in 1..=1_000_000, "connections", reload, metered;
        /// How long a TLS handshake may take. Then the connection is closed.
        handshake_deadline_s: u64 = 10, in 1..=300, "seconds", reload, metered;
        /// New connections from one source a second, on average. More are closed before the handshake.
        connections_per_source_per_s: u32 = 2000, in 1..=1_000_000, "connections a second", reload, metered;
        /// New connections from one source at once, on top of the average.
        connections_per_source_burst: u32 = 20_000, in 1..=1_000_000, "connections", reload, metered;
        /// TLS handshakes begun a second, from all sources. More wait in the operating system's queue.
        /// While clients are put off by `limits.connects_per_s`, no more than two for each session that it allows: one to
        /// be told when to come again, and one to come.
        handshakes_per_s: u32 = 20_000, in 1..=1_000_000, "handshakes a second", reload, metered;
        /// Sessions begun a second, by all clients, and as many at once. Half of what may begin at once is for identities that
        /// began no more in ten seconds than they may hold. One more is answered with CONNACK 0x89 and, in the user property
        /// `retry-after-ms`, when to come again (MQTT 3.1.1: return code 3). Its place is kept until two minutes after that.
        connects_per_s: u32 = 10_000, in 1..=1_000_000, "sessions a second", reload, metered;
        /// Clients that have such a place and did not come yet; an identity has no more of them than it may hold sessions. A
        /// further client is told when to come again as well, but has no place then.
        connects_waiting: usize = 100_000, in 0..=10_000_000, "clients", reload, metered;
        /// Failed requests for a certificate from one source a minute, and as many at once. One more is answered with 503
        /// and a time to wait, whatever it shows, so that nobody can try codes or have requests looked at for ever. A
        /// challenge for a TPM counts as one.
        enrolment_failures_per_source_per_min: u32 = 10, in 1..=100_000, "requests a minute", reload, metered;
        /// Certificates issued a second, to all. One more is answered with 503 and a time to wait: a fleet that enrols at
        /// once does so in its turn, and messages do not wait for it.
        certificates_per_s: u32 = 50, in 1..=10_000, "certificates a second", reload, metered;
        /// Matters that wait for approval, or were answered and not used yet. What would be one more is put off: a device is
        /// answered with 503, an operator is refused.
        approvals_waiting: usize = 1000, in 1..=100_000, "matters", reload, metered;
        /// Devices that one enrolment group has brought and that have no certificate yet, waiting for consent or refused
        /// otherwise. One more is answered with 503. Those for which nothing waits go after an hour or two.
        identities_pending_per_group: usize = 1000, in 1..=1_000_000, "identities", reload, metered;
        /// Largest SBOM. A larger one is not attached. Reading one takes several times as much memory.
        sbom_bytes: usize = 4_194_304, in 1024..=16_777_216, "bytes", reload, metered;
        /// SBOMs, one for each firmware version of a model. One more is not attached.
        sboms: usize = 1000, in 0..=100_000, "SBOMs", reload, metered;
        /// Bytes of all SBOMs together. One that would exceed it is not attached. A search reads all of them, and a start
        /// checks their pages.
        sbom_bytes_total: usize = 134_217_728, in 0..=17_179_869_184, "bytes", reload, metered;
        /// How long one provisioning session may last, waiting for consent included. Then it is ended with DISCONNECT 0xA0;
        /// the device connects anew and asks again with the same key.
        provisioning_session_s: u64 = 600, in 10..=86_400, "seconds", reload, metered;
        /// Requests for a certificate in one provisioning session. One more ends it with DISCONNECT 0x97.
        provisioning_requests: u32 = 64, in 1..=10_000, "requests", reload, metered;
        /// Packets that a client may send in one provisioning session. One more ends it with DISCONNECT 0x97.
        provisioning_packets: u32 = 1000, in 4..=1_000_000, "packets", reload, metered;
        /// Bytes that a client may send in one provisioning session. More end it with DISCONNECT 0x97.
        provisioning_bytes: u64 = 262_144, in 16_384..=1_073_741_824, "bytes", reload, metered;
        /// OCSP requests answered a second, to all. One more is told to try later: each answer costs a signature, and
        /// anybody may ask.
        ocsp_answers_per_s: u32 = 500, in 1..=100_000, "answers a second", reload, metered;
        /// Messages that one device may publish a second, on average; each filter that it subscribes to and each ping
        /// counts as one. One that sends more, beyond its burst, is disconnected with 0x96. Coming back renews nothing.
        device_messages_per_s: u32 = 10_000, in 1..=100_000_000, "messages a second", reload, metered;
        /// Messages that one device may publish at once, on top of the average.
        device_messages_burst: u32 = 20_000, in 1..=100_000_000, "messages", reload, metered;
        /// Bytes that one device may send a second, and at once. One that sends more is disconnected with 0x96.
        device_bytes_per_s: u64 = 33_554_432, in 1024..=1_099_511_627_776, "bytes a second", reload, metered;
        /// The same for a gateway or an application.
        application_messages_per_s: u32 = 200_000, in 1..=100_000_000, "messages a second", reload, metered;
        /// Messages that one gateway or application may publish at once, on top of the average.
        application_messages_burst: u32 = 400_000, in 1..=100_000_000, "messages", reload, metered;
        /// Bytes that one gateway or application may send a second, and at once. One that sends more is disconnected with 0x96.
        application_bytes_per_s: u64 = 268_435_456, in 1024..=1_099_511_627_776, "bytes a second", reload, metered;
        /// Messages that all clients together may publish a second. One more is refused with 0x97; QoS 0 is dropped.
        messages_per_s: u32 = 2_000_000, in 1..=1_000_000_000, "messages a second", reload, metered;
        /// Payload bytes that all clients together may publish a second. One more is refused with 0x97; QoS 0 is dropped.
        bytes_per_s: u64 = 2_147_483_648, in 1024..=1_099_511_627_776, "bytes a second", reload, metered;
        /// Bytes that wait for the disk. Beyond that what needs the disk is refused with 0x97 until some are on disk.
        journal_pending_bytes: usize = 67_108_864, in 65_536..=1_099_511_627_776, "bytes", restart, metered;
        /// Free space on the data directory's disk below which new work that must be stored is refused with 0x97.
        disk_reserve_bytes: u64 = 67_108_864, in 1_048_576..=1_099_511_627_776, "bytes", reload;
    }
}

section! {
    /// Self-watch: whether what should be noticed still is, and reaches who should know.
    Canary as "canary" {
        /// How long after the last test of detectors and alert channels the next is made. It sends a marked alert through every
        /// channel to every contact; without settings for alerts there is none. 0 makes none: `portreeve canary` does it by hand.
        every_s: u64 = 604_800, in 0..=31_536_000, "seconds", reload;
    }
}

section! {
    /// The store on disk. There is no key that trades an acknowledgement for speed.
    Store as "store" {
        /// Memory that the store may use to keep pages of its files.
        cache_bytes: usize = 67_108_864, in 1_048_576..=1_099_511_627_776, "bytes", restart;
        /// Most entries written together.
        commit_entries: usize = 8192, in 1..=65_536, "entries", restart;
    }
}

section! {
    /// The log on standard error. Payloads and keys are never logged.
    Log as "log" {
        /// How much is logged: error, warn, info, debug or trace.
        level: LogLevel = LogLevel::Info, "word", reload;
        /// How a line looks: text for people, json for programs.
        format: LogFormat = LogFormat::Text, "word", restart;
    }
}
