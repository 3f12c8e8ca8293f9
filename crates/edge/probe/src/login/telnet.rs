use std::time::Duration;

use tokio::time::timeout;

use super::door::Answered;
use crate::dial::{Connection, Dialer, Gap, Received};

/// Text that is kept of a conversation, bytes: its end.
const SCREEN_BYTES_MAX: usize = 4 * 1024;
/// What comes at most between two prompts, portions.
const PORTIONS_MAX: usize = 64;
/// How long a server may think before its next prompt.
const PROMPT_WAIT: Duration = Duration::from_secs(4);
/// After this much silence a prompt is one.
const PAUSE: Duration = Duration::from_millis(700);
/// How servers say no.
const REFUSALS: [&str; 7] = ["incorrect", "invalid", "denied", "fail", "wrong", "locked", "too many"];

/// Interpret as command, and the commands that are answered (RFC 854).
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// What a telnet server wants now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// A user name.
    User,
    /// A password.
    Password,
    /// To hear nothing of this credential.
    Refusal,
    /// A command: one is in.
    Command,
    /// A command, though it has said no.
    Unclear,
}

/// The text that a server shows, apart from what it negotiates: a terminal that has no options.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    text: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Command,
    /// After one of the four, before its option.
    Option(u8),
    Subnegotiation,
    SubnegotiationCommand,
}

impl Screen {
    /// Takes what came, and returns what is to be said to it: no to every option (RFC 1143).
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, IAC) => State::Command,
                (State::Command, WILL..=DONT) => State::Option(byte),
                (State::Command, SB) => State::Subnegotiation,
                (State::Option(command), option) => {
                    match command {
                        DO => reply.extend([IAC, WONT, option]),
                        WILL => reply.extend([IAC, DONT, option]),
                        _ => {}
                    }
                    State::Text
                }
                (State::Subnegotiation, IAC) => State::SubnegotiationCommand,
                (State::SubnegotiationCommand, SE) => State::Text,
                (State::Subnegotiation | State::SubnegotiationCommand, _) => State::Subnegotiation,
                (State::Command, _) => State::Text,
                (State::Text, _) => {
                    self.text.push(byte);
                    State::Text
                }
            };
        }
        let excess = self.text.len().saturating_sub(SCREEN_BYTES_MAX);
        self.text.drain(..excess);
        reply
    }

    /// Forgets the text.
    fn clear(&mut self) {
        self.text.clear();
    }

    /// What it wants, if that can be told yet: its last line, as long as it is not ended. Before anything was said, no word is a refusal.
    #[must_use]
    pub fn telling(&self, is_greeting: bool) -> Option<Telling> {
        let text = String::from_utf8_lossy(&self.text).to_ascii_lowercase();
        let last = text.rsplit(['\n', '\r']).next().unwrap_or_default().trim();
        let ends = |ends: &[&str]| ends.iter().any(|end| last.ends_with(end));
        if ends(&["password:", "passwd:", "passcode:"]) {
            return Some(Telling::Password);
        }
        if ends(&["login:", "user:", "username:", "user name:", "account:"]) {
            return Some(Telling::User);
        }
        let is_refused = !is_greeting && REFUSALS.iter().any(|word| text.contains(word));
        // What shells and menus of devices end with.
        match (ends(&["#", "$", ">", "%"]), is_refused) {
            (true, true) => Some(Telling::Unclear),
            (true, false) => Some(Telling::Command),
            (false, true) => Some(Telling::Refusal),
            (false, false) => None,
        }
    }
}

/// Answers the prompts once.
pub(super) async fn knock(dialer: &Dialer, user: &str, secret: &str) -> Result<Answered, Gap> {
    let mut connection = dialer.open().await?;
    let mut screen = Screen::default();
    let mut asked = prompt(&mut connection, &mut screen, true).await?;
    if asked == Telling::Command {
        return Ok(Answered::let_in());
    }
    if asked == Telling::User {
        say(&mut connection, &mut screen, user).await?;
        asked = prompt(&mut connection, &mut screen, false).await?;
    }
    if asked == Telling::Password {
        say(&mut connection, &mut screen, secret).await?;
        asked = prompt(&mut connection, &mut screen, false).await?;
    }
    match asked {
        Telling::Command => Ok(Answered::let_in()),
        Telling::Refusal | Telling::User | Telling::Password => Ok(Answered::refused("refused at the prompt")),
        Telling::Unclear => Err(Gap::Odd("it refuses, and shows a prompt all the same".into())),
    }
}

async fn say(connection: &mut Connection<'_>, screen: &mut Screen, line: &str) -> Result<(), Gap> {
    screen.clear();
    connection.send(format!("{line}\r\n").as_bytes()).await
}

/// Reads until the server wants something.
async fn prompt(connection: &mut Connection<'_>, screen: &mut Screen, is_greeting: bool) -> Result<Telling, Gap> {
    let mut asked = None;
    for _ in 0..PORTIONS_MAX {
        // A line of a banner may end as a prompt does: only one after which nothing comes is one.
        let wait = if matches!(asked, Some(Telling::Command | Telling::Unclear)) { PAUSE } else { PROMPT_WAIT };
        let bytes = match (timeout(wait, connection.receive()).await, asked) {
            (Ok(Ok(Received::Bytes(bytes))), _) => bytes,
            (Err(_), Some(asked)) => return Ok(asked),
            (Err(_), None) => return Err(Gap::Silent(PROMPT_WAIT)),
            (Ok(Ok(Received::End)), _) if is_greeting => return Err(Gap::Odd("it closed the connection".into())),
            // It has heard the credential, and ends the conversation.
            (Ok(Ok(Received::End)), _) => return Ok(Telling::Refusal),
            (Ok(Err(gap)), _) => return Err(gap),
        };
        let reply = screen.push(&bytes);
        if !reply.is_empty() {
            connection.send(&reply).await?;
        }
        asked = screen.telling(is_greeting);
        match asked {
            Some(Telling::Command | Telling::Unclear) | None => {}
            Some(asked) => return Ok(asked),
        }
    }
    Err(Gap::Odd("it talks without end".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(bytes: &[u8]) -> (Screen, Vec<u8>) {
        let mut screen = Screen::default();
        let reply = screen.push(bytes);
        (screen, reply)
    }

    #[test]
    fn options_are_refused_and_text_is_left() {
        let (shown, reply) = screen(b"\xff\xfd\x18\xff\xfb\x01\xff\xfa\x18\x01\xff\xff\xff\xf0\xff\xf9box login: ");
        assert_eq!(reply, b"\xff\xfc\x18\xff\xfe\x01");
        assert_eq!((shown.text.as_slice(), shown.telling(true)), (&b"box login: "[..], Some(Telling::User)));
        let (shown, _) = screen(&b"x".repeat(10_000));
        assert_eq!(shown.text.len(), SCREEN_BYTES_MAX);
    }

    #[test]
    fn last_lines_tell_what_is_wanted() {
        let cases: [(&[u8], bool, Option<Telling>); 9] = [
            (b"3 failed logins\r\nUsername: ", true, Some(Telling::User)),
            (b"admin\r\nPassword: ", false, Some(Telling::Password)),
            (b"\r\nLogin incorrect\r\n", false, Some(Telling::Refusal)),
            (b"\r\nLogin incorrect\r\n\r\nlogin: ", false, Some(Telling::User)),
            (b"\r\nBusyBox v1.36\r\n\r\n/ # ", false, Some(Telling::Command)),
            (b"Access denied\r\n> ", false, Some(Telling::Unclear)),
            (b"##### keep out #####\r\n", true, None),
            (b"Access denied is what you get\r\n", true, None),
            (b"\xff", true, None),
        ];
        for (bytes, is_greeting, telling) in cases {
            assert_eq!(screen(bytes).0.telling(is_greeting), telling, "{bytes:?}");
        }
    }
}
