use std::path::{Path, PathBuf};

use portreeve_types::TopicName;

use super::{
    HttpsUrl, MailAddress, Server,
    read::{Reader, Table},
};
use crate::Word;

/// Alerts a minute through one channel, unless something else is said.
const PER_MINUTE: u32 = 20;
/// Longest user name of a mail server, bytes.
const USERNAME_BYTES_MAX: usize = 255;

/// One way to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What contacts call it.
    pub name: Word,
    /// Deliveries a minute; beyond these, what is not the first of its kind comes in a digest. Those below
    /// [`Severity::High`](crate::Severity::High) may use half of them.
    pub per_minute: u32,
    /// What it is.
    pub kind: ChannelKind,
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// An HTTPS POST of JSON, signed.
    Webhook(Webhook),
    /// A mail.
    Smtp(Smtp),
    /// A line of syslog over TLS.
    Syslog(Syslog),
    /// A message to authorised applications on this topic of the hub itself.
    Mqtt(TopicName),
}

impl ChannelKind {
    /// The word used in files and messages.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Smtp(_) => "smtp",
            Self::Syslog(_) => "syslog",
            Self::Mqtt(_) => "mqtt",
        }
    }

    /// The files that it is made of.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        let (own, peer) = match self {
            Self::Webhook(webhook) => (Some(&webhook.secret_file), &webhook.peer),
            Self::Smtp(smtp) => (smtp.login.as_ref().map(|login| &login.password_file), &smtp.peer),
            Self::Syslog(syslog) => (None, &syslog.peer),
            Self::Mqtt(_) => return Vec::new(),
        };
        let client = peer.client.iter().flat_map(|client| [&client.certificate_file, &client.key_file]);
        own.into_iter().chain(&peer.ca_file).chain(client).map(PathBuf::as_path).collect()
    }

    /// Where connections for it go, if any do.
    #[must_use]
    pub const fn server(&self) -> Option<&Server> {
        match self {
            Self::Webhook(webhook) => Some(&webhook.url.server),
            Self::Smtp(smtp) => Some(&smtp.server),
            Self::Syslog(syslog) => Some(&syslog.server),
            Self::Mqtt(_) => None,
        }
    }
}

/// Whom to trust at the other end, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// PEM with the trust anchors; the system's, if none is named.
    pub ca_file: Option<PathBuf>,
    /// A certificate for servers that ask for one.
    pub client: Option<ClientFiles>,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM, leaf first.
    pub certificate_file: PathBuf,
    /// PEM, readable by the hub's user only.
    pub key_file: PathBuf,
}

/// An HTTPS receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is.
    pub url: HttpsUrl,
    /// The shared secret of the signatures: at least 16 bytes, readable by the hub's user only.
    pub secret_file: PathBuf,
    /// The other end.
    pub peer: Peer,
}

/// How TLS begins; there is no mail without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// With the connection (RFC 8314 §3.3), port 465.
    Tls,
    /// By STARTTLS (RFC 3207), port 587; a server that does not offer it gets nothing.
    Starttls,
}

/// A mail server that takes our mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Where it is.
    pub server: Server,
    /// How TLS begins.
    pub security: SmtpSecurity,
    /// As whom we send.
    pub from: MailAddress,
    /// How we log in, if the server asks for it.
    pub login: Option<Login>,
    /// The other end.
    pub peer: Peer,
}

/// User and password at a mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password, readable by the hub's user only.
    pub password_file: PathBuf,
}

/// A receiver of syslog over TLS (RFC 5425).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub server: Server,
    /// The other end.
    pub peer: Peer,
}

pub(super) fn read(reader: &mut Reader<'_>, mut table: Table<'_>) -> Option<Channel> {
    let name = table.required(reader, "name", str::parse::<Word>);
    let per_minute = table.number(reader, "per_minute", 1..=600, PER_MINUTE);
    let word = table.required(reader, "kind", |text| {
        let known = ["webhook", "smtp", "syslog", "mqtt"].into_iter().find(|known| *known == text);
        known.ok_or("one of webhook, smtp, syslog, mqtt is expected")
    });
    // Without its kind nothing can be said of the other keys.
    let kind = match word? {
        "webhook" => webhook(reader, &mut table).map(ChannelKind::Webhook),
        "smtp" => smtp(reader, &mut table).map(ChannelKind::Smtp),
        "syslog" => syslog(reader, &mut table).map(ChannelKind::Syslog),
        _ => table.required(reader, "topic", topic).map(ChannelKind::Mqtt),
    };
    table.finish(reader);
    Some(Channel { name: name?, per_minute, kind: kind? })
}

fn webhook(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<Webhook> {
    let url = table.required(reader, "url", str::parse::<HttpsUrl>);
    let secret_file = table.required(reader, "secret_file", path);
    let peer = peer(reader, table);
    Some(Webhook { url: url?, secret_file: secret_file?, peer: peer? })
}

fn smtp(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<Smtp> {
    let security = table.required(reader, "security", |text| match text {
        "tls" => Ok(SmtpSecurity::Tls),
        "starttls" => Ok(SmtpSecurity::Starttls),
        _ => Err("tls or starttls is expected"),
    });
    let port = if security == Some(SmtpSecurity::Starttls) { 587 } else { 465 };
    let server = table.required(reader, "server", |text| Server::parse(text, port));
    let from = table.required(reader, "from", str::parse::<MailAddress>);
    let username = table.text(reader, "username", username);
    let password_file = table.text(reader, "password_file", path);
    let peer = peer(reader, table);
    let login = match (username, password_file) {
        (Some(username), Some(password_file)) => Some(Login { username, password_file }),
        (None, None) => None,
        _ => {
            reader.problem(table.span.clone(), "`username` and `password_file` belong together");
            None
        }
    };
    Some(Smtp { server: server?, security: security?, from: from?, login, peer: peer? })
}

fn syslog(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<Syslog> {
    let server = table.required(reader, "server", |text| Server::parse(text, 6514));
    let peer = peer(reader, table);
    Some(Syslog { server: server?, peer: peer? })
}

fn peer(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<Peer> {
    let ca_file = table.text(reader, "ca_file", path);
    let certificate_file = table.text(reader, "certificate_file", path);
    let key_file = table.text(reader, "key_file", path);
    let client = match (certificate_file, key_file) {
        (Some(certificate_file), Some(key_file)) => Some(ClientFiles { certificate_file, key_file }),
        (None, None) => None,
        _ => {
            reader.problem(table.span.clone(), "`certificate_file` and `key_file` belong together");
            None
        }
    };
    Some(Peer { ca_file, client })
}

/// Relative paths would depend on where the hub was started.
fn path(text: &str) -> Result<PathBuf, &'static str> {
    let valid = text.starts_with('/') && text.len() <= 4096 && !text.contains(char::is_control);
    if valid { Ok(PathBuf::from(text)) } else { Err("the absolute path of a file is expected") }
}

fn username(text: &str) -> Result<String, &'static str> {
    let valid = (1..=USERNAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if valid { Ok(text.to_owned()) } else { Err("a user name of 1 to 255 bytes is expected") }
}

fn topic(text: &str) -> Result<TopicName, String> {
    let topic = TopicName::new(text).map_err(|why| why.to_string())?;
    // There nobody can publish, and only a permit that names it lets somebody read.
    let is_own = text.starts_with("$SYS/portreeve/");
    is_own
        .then_some(topic)
        .ok_or_else(|| "a topic below `$SYS/portreeve/`, where only the hub publishes, is expected".to_owned())
}
