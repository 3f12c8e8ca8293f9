//! How a delivery looks: the one place where texts from outside become parts of a format.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_types::UnixMillis;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc2822, macros::format_description};

use crate::{Alert, Delivery, Digest, Line, MailAddress, Notice, Severity};

/// Longest line of syslog, bytes: what receivers take by default, and well below what a text may grow to in it.
pub const SYSLOG_BYTES_MAX: usize = 8 * 1024;
/// Longest mail, bytes.
pub const MAIL_BYTES_MAX: usize = 64 * 1024;

/// Facility 10, security and authorisation (RFC 5424 §6.2.1).
const FACILITY: u8 = 10;
/// The name of our structured data. 32473 is the enterprise number for examples (RFC 5612): the project has none of its own.
const SD_ID: &str = "alert@32473";
/// Bytes of text in one encoded word: with its frame it has at most 75 characters (RFC 2047 §2).
const ENCODED_WORD_BYTES: usize = 45;
/// Characters of base64 in a line of a mail (RFC 2045 §6.8).
const BASE64_LINE_CHARS: usize = 76;

/// The body of a webhook, and the payload of an MQTT message: a JSON object. `hub` names the sender.
#[must_use]
pub fn render_json(delivery: &Delivery, hub: &str) -> String {
    let what = match &delivery.notice {
        Notice::Alert { why, alert } => ("alert", why.as_str(), alert_json(alert)),
        Notice::Digest(digest) => ("digest", "digest", digest_json(digest)),
    };
    let (name, notice, value) = what;
    let mut object = json!({
        "version": 1,
        "key": delivery.idempotency_key,
        "hub": Line::<255>::new(hub),
        "contact": delivery.contact,
        "channel": delivery.channel,
        "attempt": delivery.attempt,
        "notice": notice,
    });
    object[name] = value;
    object.to_string()
}

fn alert_json(alert: &Alert) -> Value {
    let Alert { id, kind, severity, subject, group, text, numbers, opened, last, count, acknowledged, canary } = alert;
    let acknowledged = acknowledged.as_ref().map(|who| json!({ "by": who.by, "at": timestamp(who.at) }));
    json!({
        "id": id, "kind": kind, "severity": severity, "subject": subject, "group": group, "text": text,
        "numbers": numbers, "opened": timestamp(*opened), "last": timestamp(*last), "count": count,
        "acknowledged": acknowledged, "canary": canary,
    })
}

fn digest_json(digest: &Digest) -> Value {
    json!({
        "since": timestamp(digest.since), "total": digest.total(), "severity": digest.severity(),
        "kinds": digest.kinds,
    })
}

/// A mail of plain text (RFC 5322, RFC 2045) with lines that end in CR LF. No line has more than 76 characters beside the
/// addresses, and none can be taken for a command or a header that is not ours: what comes from outside is in encoded words and
/// base64.
#[must_use]
pub fn render_mail(delivery: &Delivery, from: &MailAddress, to: &MailAddress, hub: &str, now: UnixMillis) -> String {
    let hub = Line::<255>::new(hub);
    let subject = format!("[{}] {}", delivery.notice.severity(), headline(&delivery.notice, &hub));
    let urgent = if delivery.notice.severity() >= Severity::High { "Importance: high\r\n" } else { "" };
    let mut mail = format!(
        "Date: {}\r\nFrom: {}\r\nTo: {}\r\nMessage-ID: <{}@{}>\r\nSubject: {}\r\nAuto-Submitted: auto-generated\r\n{urgent}\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        mail_date(now),
        from.as_str(),
        to.as_str(),
        delivery.idempotency_key,
        from.domain(),
        encoded_words(&subject),
    );
    let body = STANDARD.encode(mail_text(delivery, &hub));
    for line in body.as_bytes().chunks(BASE64_LINE_CHARS) {
        mail.extend(line.iter().map(|byte| char::from(*byte)));
        mail.push_str("\r\n");
    }
    mail
}

fn headline(notice: &Notice, hub: &Line<255>) -> String {
    match notice {
        Notice::Alert { why, alert } => {
            format!("{} {} ({}, alert {} of {hub})", alert.kind, alert.subject, why.as_str(), alert.id)
        }
        Notice::Digest(digest) => {
            format!("{} more of {} kinds (digest of {hub})", digest.total(), digest.kinds.len())
        }
    }
}

fn mail_text(delivery: &Delivery, hub: &Line<255>) -> String {
    let mut text = String::new();
    match &delivery.notice {
        Notice::Alert { why, alert } => alert_text(&mut text, why.as_str(), alert),
        Notice::Digest(digest) => digest_text(&mut text, digest),
    }
    // Writing to a string does not fail.
    _ = write!(text, "\nhub: {hub}\nto: {}, through {}\n", delivery.contact, delivery.channel);
    if let Some(alert) = delivery.notice.alert() {
        _ = write!(text, "\nAcknowledge it on the hub: portreeve alert ack {}\n", alert.id);
    }
    text
}

fn alert_text(text: &mut String, why: &str, alert: &Alert) {
    _ = write!(
        text,
        "{}\n\nalert: {} ({why})\nkind: {}\nseverity: {}\nsubject: {}\n",
        alert.text, alert.id, alert.kind, alert.severity, alert.subject
    );
    if let Some(group) = &alert.group {
        _ = writeln!(text, "group: {group}");
    }
    for (name, value) in &alert.numbers {
        _ = writeln!(text, "{name}: {value}");
    }
    _ = write!(text, "opened: {}\nlast: {}\ncount: {}\n", timestamp(alert.opened), timestamp(alert.last), alert.count);
}

fn digest_text(text: &mut String, digest: &Digest) {
    _ = write!(
        text,
        "Since {} there were {} more notices than could be sent one by one:\n\n",
        timestamp(digest.since),
        digest.total()
    );
    for (kind, line) in &digest.kinds {
        _ = writeln!(text, "{} of {kind}, at most {}", line.count, line.severity);
    }
    text.push_str("\nThe hub knows them all: portreeve alert list\n");
}

/// A header's value as encoded words (RFC 2047 §2), each on a line of its own; characters are not split.
fn encoded_words(text: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        let last = words.last().map_or(0, String::len);
        if last + c.len_utf8() > ENCODED_WORD_BYTES {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

/// A message of syslog (RFC 5424) with structured data, without a line end. `hub` becomes the host name, as far as it is one.
#[must_use]
pub fn render_syslog(delivery: &Delivery, hub: &str, now: UnixMillis) -> String {
    let notice = &delivery.notice;
    let (message_id, mut data) = match notice {
        Notice::Alert { why, alert } => {
            // 32 characters at most (RFC 5424 §6).
            let message_id: String = alert.kind.as_str().chars().take(32).collect();
            (message_id, alert_data(why.as_str(), alert))
        }
        Notice::Digest(digest) => ("digest".to_owned(), digest_data(digest)),
    };
    parameter(&mut data, "key", &delivery.idempotency_key);
    parameter(&mut data, "contact", delivery.contact.as_str());
    let priority = FACILITY * 8 + level(notice.severity());
    let host = host_name(hub);
    let text = match notice {
        Notice::Alert { alert, .. } => alert.text.as_str().to_owned(),
        Notice::Digest(_) => headline(notice, &Line::new(hub)),
    };
    // The byte order mark says that what follows is UTF-8 (§6.4).
    let mut line =
        format!("<{priority}>1 {} {host} portreeve - {message_id} [{SD_ID}{data}] \u{feff}{text}", timestamp(now));
    while line.len() > SYSLOG_BYTES_MAX {
        line.pop();
    }
    line
}

fn alert_data(why: &str, alert: &Alert) -> String {
    let mut data = String::new();
    parameter(&mut data, "alert", &alert.id.to_string());
    parameter(&mut data, "notice", why);
    parameter(&mut data, "kind", alert.kind.as_str());
    parameter(&mut data, "severity", alert.severity.as_str());
    parameter(&mut data, "subject", alert.subject.as_str());
    if let Some(group) = &alert.group {
        parameter(&mut data, "group", group.as_str());
    }
    parameter(&mut data, "count", &alert.count.to_string());
    parameter(&mut data, "opened", &timestamp(alert.opened));
    for (name, value) in &alert.numbers {
        // Of a parameter's name 32 characters count; two numbers could otherwise come to one name.
        if name.as_str().len() <= 29 {
            parameter(&mut data, &format!("n.{name}"), &value.to_string());
        }
    }
    data
}

fn digest_data(digest: &Digest) -> String {
    let mut data = String::new();
    parameter(&mut data, "notice", "digest");
    parameter(&mut data, "severity", digest.severity().as_str());
    parameter(&mut data, "count", &digest.total().to_string());
    parameter(&mut data, "kinds", &digest.kinds.len().to_string());
    data
}

/// One parameter, its value escaped (RFC 5424 §6.3.3).
fn parameter(data: &mut String, name: &str, value: &str) {
    _ = write!(data, " {name}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            data.push('\\');
        }
        data.push(c);
    }
    data.push('"');
}

/// RFC 5424 §6.2.1, table 2.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Info => 6,
    }
}

/// Visible ASCII of at most 255 characters, or the nil value.
fn host_name(hub: &str) -> String {
    let host: String = hub.chars().filter(char::is_ascii_graphic).take(255).collect();
    if host.is_empty() { "-".to_owned() } else { host }
}

fn date_time(time: UnixMillis) -> OffsetDateTime {
    let nanos = i128::from(time.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// RFC 3339 with milliseconds, UTC.
fn timestamp(time: UnixMillis) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    date_time(time).format(format).unwrap_or_default()
}

fn mail_date(time: UnixMillis) -> String {
    let whole = date_time(UnixMillis(time.0 / 1000 * 1000));
    whole.format(&Rfc2822).unwrap_or_default()
}
