//! Mails: a client of RFC 5321 that submits one message over TLS (RFC 8314).

use std::{fmt, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_alert::{Delivery, Failure, MailAddress, Smtp, SmtpSecurity, render_mail};
use portreeve_types::UnixMillis;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::{
    Channel, Receipt,
    connect::{Connector, within},
    files::{self, OpenError},
    permanent,
    reply::{Reply, read_reply},
    transient,
};

/// A mail server.
pub(crate) struct SmtpChannel {
    connector: Connector,
    security: SmtpSecurity,
    from: MailAddress,
    login: Option<Credentials>,
    hub: String,
}

struct Credentials {
    username: String,
    password: Zeroizing<Vec<u8>>,
}

impl SmtpChannel {
    pub(crate) fn open(smtp: &Smtp, hub: &str) -> Result<Self, OpenError> {
        let login = match &smtp.login {
            Some(login) => Some(Credentials {
                username: login.username.clone(),
                password: files::secret(&login.password_file, 1)?,
            }),
            None => None,
        };
        let connector = Connector::open(&smtp.server, &smtp.peer)?;
        Ok(Self { connector, security: smtp.security, from: smtp.from.clone(), login, hub: hub.to_owned() })
    }

    async fn submit(&self, to: &MailAddress, mail: &str) -> Result<(), Failure> {
        let mut session = self.begin().await?;
        let greeting = session.greet(&self.hub).await?;
        if let Some(login) = &self.login {
            session.log_in(login, greeting.capability("AUTH").unwrap_or_default()).await?;
        }
        session.command("MAIL", &format!("MAIL FROM:<{}>", self.from.as_str()), 250).await?;
        session.command("RCPT", &format!("RCPT TO:<{}>", to.as_str()), 250).await?;
        session.command("DATA", "DATA", 354).await?;
        // A line that begins with a full stop gets another (RFC 5321 §4.5.2).
        let mail = mail.replace("\r\n.", "\r\n..");
        session.command("end of DATA", &format!("{mail}."), 250).await?;
        // It is theirs now; whether the farewell arrives makes no difference.
        _ = session.command("QUIT", "QUIT", 221).await;
        Ok(())
    }

    /// A session whose bytes are protected, its server not greeted yet.
    async fn begin(&self) -> Result<Session<TlsStream<TcpStream>>, Failure> {
        let tcp = self.connector.tcp().await?;
        match self.security {
            SmtpSecurity::Tls => {
                let mut session = Session::new(self.connector.secure(tcp).await?);
                session.hear("greeting", 220).await?;
                Ok(session)
            }
            SmtpSecurity::Starttls => {
                let mut plain = Session::new(tcp);
                plain.hear("greeting", 220).await?;
                if plain.greet(&self.hub).await?.capability("STARTTLS").is_none() {
                    return Err(permanent(&format!("{} does not offer STARTTLS", self.connector.server())));
                }
                plain.command("STARTTLS", "STARTTLS", 220).await?;
                // What came in the clear must not count as said inside (RFC 3207 §6, CVE-2011-0411).
                if !plain.arrived.is_empty() {
                    return Err(permanent("something was said between STARTTLS and TLS"));
                }
                Ok(Session::new(self.connector.secure(plain.stream).await?))
            }
        }
    }
}

impl Channel for SmtpChannel {
    fn send(&self, delivery: &Delivery, now: UnixMillis, deadline: Instant) -> Result<Receipt, Failure> {
        let to = delivery.mail.as_ref().ok_or_else(|| permanent("the contact has no mail address"))?;
        let mail = render_mail(delivery, &self.from, to, &self.hub, now);
        within(deadline, self.submit(to, &mail)).map(|()| Receipt::Confirmed)
    }
}

impl fmt::Debug for SmtpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connector, security, from, .. } = self;
        let mut shown = f.debug_struct("SmtpChannel");
        shown.field("connector", connector).field("security", security).field("from", from).finish_non_exhaustive()
    }
}

/// A dialogue: one command, one reply.
struct Session<S> {
    stream: S,
    /// What came and was not read yet.
    arrived: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S) -> Self {
        Self { stream, arrived: Vec::new() }
    }

    async fn greet(&mut self, hub: &str) -> Result<Reply, Failure> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let name = if !hub.is_empty() && hub.len() <= 255 && hub.chars().all(is_name) { hub } else { "localhost" };
        self.command("EHLO", &format!("EHLO {name}"), 250).await
    }

    /// AUTH (RFC 4954) by PLAIN (RFC 4616), or by LOGIN where a server knows nothing else.
    async fn log_in(&mut self, login: &Credentials, mechanisms: &str) -> Result<(), Failure> {
        let offers = |name: &str| mechanisms.split(' ').any(|offered| offered.eq_ignore_ascii_case(name));
        let Credentials { username, password } = login;
        if offers("PLAIN") {
            let words = Zeroizing::new([b"\0", username.as_bytes(), b"\0", password].concat());
            let line = Zeroizing::new(format!("AUTH PLAIN {}", STANDARD.encode(&words)));
            return self.secret_command(&line, 235).await;
        }
        if !offers("LOGIN") {
            return Err(permanent("the server offers neither AUTH PLAIN nor AUTH LOGIN"));
        }
        self.secret_command("AUTH LOGIN", 334).await?;
        self.secret_command(&STANDARD.encode(username), 334).await?;
        self.secret_command(&Zeroizing::new(STANDARD.encode(password)), 235).await
    }

    /// As [`Self::command`]; the server's words, which may repeat what it was told, are not.
    async fn secret_command(&mut self, line: &str, code: u16) -> Result<(), Failure> {
        self.write(line).await?;
        let Reply { code: got, .. } = self.reply().await?;
        judge("AUTH", got, "", code)
    }

    async fn command(&mut self, what: &str, line: &str, code: u16) -> Result<Reply, Failure> {
        self.write(line).await?;
        self.hear(what, code).await
    }

    async fn hear(&mut self, what: &str, code: u16) -> Result<Reply, Failure> {
        let reply = self.reply().await?;
        judge(what, reply.code, reply.lines.last().map_or("", String::as_str), code)?;
        Ok(reply)
    }

    async fn write(&mut self, line: &str) -> Result<(), Failure> {
        let broken = |error| transient(&format!("the mail server broke off: {error}"));
        let line = Zeroizing::new(format!("{line}\r\n"));
        self.stream.write_all(line.as_bytes()).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn reply(&mut self) -> Result<Reply, Failure> {
        let mut buffer = [0; 1024];
        loop {
            let read = read_reply(&self.arrived).map_err(|error| transient(&error.to_string()))?;
            if let Some((reply, used)) = read {
                self.arrived.drain(..used);
                return Ok(reply);
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(transient("the mail server broke off")),
                Ok(length) => self.arrived.extend_from_slice(&buffer[..length]),
                Err(error) => return Err(transient(&format!("the mail server broke off: {error}"))),
            }
        }
    }
}

/// Whether a reply is the expected one (RFC 5321 §4.2.1): 5yz will be the same again, everything else may not.
fn judge(what: &str, code: u16, text: &str, expected: u16) -> Result<(), Failure> {
    // 251 is a recipient that the server forwards to.
    if code == expected || (code, expected) == (251, 250) {
        return Ok(());
    }
    let why = format!("{what}: the mail server answered {code} {text}");
    Err(if (500..600).contains(&code) { permanent(&why) } else { transient(&why) })
}
