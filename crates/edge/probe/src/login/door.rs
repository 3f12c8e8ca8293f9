use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::{AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use portreeve_assurance::{Sha256, evidence::login::Login};
use portreeve_mqtt::{Connect, Version};

use super::{
    form::{self, Coding, Form},
    rtsp, snmp, telnet,
};
use crate::{
    dial::{Dialer, Gap},
    http::{Ask, Place, Reply, Site},
    mqtt::{Broker, Connected, Identity},
    page::digest,
    ssh,
};

/// Client identifier of attempts at a broker.
const CLIENT_ID: &str = "portreeve-probe";

/// How one tries to log in, and where.
#[derive(Clone, Debug)]
pub enum Door<'a> {
    /// A path that asks for HTTP Basic.
    HttpBasic {
        /// Where.
        site: Site<'a>,
        /// The path.
        path: String,
    },
    /// An HTML form.
    HttpForm {
        /// Where.
        site: Site<'a>,
        /// What is posted.
        form: Form,
    },
    /// A JSON object that is posted.
    HttpJson {
        /// Where.
        site: Site<'a>,
        /// What is posted.
        form: Form,
    },
    /// An MQTT broker.
    Mqtt(Broker<'a>),
    /// An SSH server.
    Ssh(&'a Dialer),
    /// A telnet server.
    Telnet(&'a Dialer),
    /// An RTSP server.
    Rtsp {
        /// Where.
        dialer: &'a Dialer,
        /// Path of the stream.
        path: String,
    },
    /// An SNMP agent.
    Snmp(&'a Dialer),
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) entry: Entry,
    pub(crate) how: String,
    pub(crate) digest: Option<Sha256>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    LetIn,
    Refused,
    Throttled,
    /// A page or redirect, which means what it does not mean for strangers.
    Page,
}

impl Answered {
    pub(crate) fn let_in() -> Self {
        Self { entry: Entry::LetIn, how: "let in".into(), digest: None }
    }

    pub(crate) fn refused(how: impl Into<String>) -> Self {
        Self { entry: Entry::Refused, how: how.into(), digest: None }
    }
}

impl<'a> Door<'a> {
    /// How one logs in.
    #[must_use]
    pub const fn login(&self) -> Login {
        match self {
            Self::HttpBasic { .. } => Login::HttpBasic,
            Self::HttpForm { .. } => Login::HttpForm,
            Self::HttpJson { .. } => Login::HttpJson,
            Self::Mqtt(_) => Login::Mqtt,
            Self::Ssh(_) => Login::Ssh,
            Self::Telnet(_) => Login::Telnet,
            Self::Rtsp { .. } => Login::Rtsp,
            Self::Snmp(_) => Login::Snmp,
        }
    }

    /// Who opens connections to it.
    #[must_use]
    pub const fn dialer(&self) -> &'a Dialer {
        match self {
            Self::HttpBasic { site, .. } | Self::HttpForm { site, .. } | Self::HttpJson { site, .. } => site.dialer,
            Self::Mqtt(broker) => broker.dialer,
            Self::Ssh(dialer) | Self::Telnet(dialer) | Self::Rtsp { dialer, .. } | Self::Snmp(dialer) => dialer,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.dialer().address().port()
    }

    /// Tries one credential. Of what answers that are compared say, `names` are masked.
    pub(crate) async fn knock(&self, user: &str, secret: &str, names: &[&str]) -> Result<Answered, Gap> {
        match self {
            Self::HttpBasic { site, path } => basic(site, path, user, secret, names).await,
            Self::HttpForm { site, form } => form::knock(site, form, Coding::Form, (user, secret), names).await,
            Self::HttpJson { site, form } => form::knock(site, form, Coding::Json, (user, secret), names).await,
            Self::Mqtt(broker) => mqtt(broker, user, secret).await,
            Self::Ssh(dialer) => match ssh::log_in(dialer, user, Some(secret)).await? {
                ssh::Said::LetIn => Ok(Answered::let_in()),
                ssh::Said::Refused(methods) if methods.iter().any(|method| method == "password") => {
                    Ok(Answered::refused("password refused"))
                }
                ssh::Said::Refused(_) => Err(Gap::Odd("passwords are not taken".into())),
            },
            Self::Telnet(dialer) => telnet::knock(dialer, user, secret).await,
            Self::Rtsp { dialer, path } => rtsp::knock(dialer, path, user, secret).await,
            Self::Snmp(dialer) => snmp::knock(dialer, secret).await,
        }
    }
}

/// `user:secret` as Basic has it (RFC 7617 section 2).
pub(super) fn basic_value(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

async fn basic(site: &Site<'_>, path: &str, user: &str, secret: &str, names: &[&str]) -> Result<Answered, Gap> {
    let mut value = HeaderValue::from_str(&basic_value(user, secret)).map_err(|error| Gap::odd(&error))?;
    value.set_sensitive(true);
    let reply = site.ask(&Ask::get(path, vec![(AUTHORIZATION, value)])).await?;
    // Who wants Digest or a token refuses every password that comes this way, which says nothing of passwords.
    let takes_basic = |text: &str| text.to_ascii_lowercase().contains("basic");
    let mut asked = reply.texts(WWW_AUTHENTICATE).peekable();
    if reply.status == 401 && asked.peek().is_some() && !asked.any(takes_basic) {
        return Err(Gap::Odd("it asks for another way to log in than Basic".into()));
    }
    let mut answered = answered(site, path, &reply, names)?;
    if answered.entry == Entry::Page {
        answered.entry = Entry::LetIn;
    }
    Ok(answered)
}

/// 429 and 423 say that one has to wait or is locked out (RFC 6585 section 4, RFC 4918 section 11.3), as `Retry-After` does.
pub(super) fn answered(site: &Site<'_>, path: &str, reply: &Reply, names: &[&str]) -> Result<Answered, Gap> {
    let entry = match reply.status {
        429 | 423 => Entry::Throttled,
        _ if reply.headers.contains_key(RETRY_AFTER) => Entry::Throttled,
        200..400 => Entry::Page,
        // Nothing is there, or it is broken: that is no word on a credential.
        404 | 405 | 500..=502 | 504.. => return Err(Gap::Odd(format!("HTTP {}", reply.status))),
        _ => Entry::Refused,
    };
    let place = reply.texts(LOCATION).next().map(|place| match site.place(path, place) {
        Place::Here(path) => path,
        Place::Elsewhere(there) => there,
    });
    let to = place.map(|place| format!(" to {}", crate::http::without_query(&place))).unwrap_or_default();
    let how = portreeve_assurance::evidence::printable(format!("HTTP {}{to}", reply.status).as_bytes());
    Ok(Answered { entry, how, digest: Some(digest(&reply.body, names)) })
}

async fn mqtt(broker: &Broker<'_>, user: &str, secret: &str) -> Result<Answered, Gap> {
    let mut connect = Connect::new(Version::V311, CLIENT_ID);
    (connect.username, connect.password) = (Some(user), Some(secret.as_bytes()));
    match broker.connect(&Identity::nobody(CLIENT_ID), &connect).await? {
        Connected::Accepted(..) => Ok(Answered::let_in()),
        Connected::Refused(how) => Ok(Answered::refused(how)),
    }
}
