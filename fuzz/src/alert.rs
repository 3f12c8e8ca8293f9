//! Settings of alerts, what a store keeps of them, and what mail servers answer, `portreeve-alert` and `portreeve-channels`.

use portreeve_alert::{AlertSettings, Desk, Occurrence, Severity, render_json, render_syslog};
use portreeve_channels::{REPLY_BYTES_MAX, read_reply};
use portreeve_types::UnixMillis;

const KINDS: &[&str] = &["auth_failures"];
const SETTINGS: &str = "[[channel]]\nname = \"a\"\nkind = \"syslog\"\nserver = \"h\"\n[[channel]]\nname = \"b\"\n\
    kind = \"mqtt\"\ntopic = \"$SYS/portreeve/alerts\"\n[[contact]]\nname = \"ann\"\nchannels = [\"a\", \"b\"]\nreviewed = 2026-11-01\n\
    [[route]]\ncontacts = [\"ann\"]\n";

/// What is refused has a place and says so in a bounded, clean line; what is read has a way for every alert.
pub fn alert_settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match AlertSettings::parse("alerts.toml", text, KINDS) {
        Ok(settings) => deliver_one(settings),
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1 && problem.column >= 1);
                assert!(!problem.message.as_str().contains(char::is_control));
            }
        }
    }
}

fn deliver_one(settings: AlertSettings) {
    let now = UnixMillis(1_800_000_000_000);
    let Ok(mut desk) = Desk::restore(settings, [], 1, now) else { panic!("a new desk") };
    let Ok(kind) = KINDS[0].parse() else { panic!("a kind") };
    desk.raise(Occurrence::new(kind, Severity::High, "lamp-1", "text"), now);
    let due = desk.poll(now);
    assert_eq!(due.len(), 1);
    assert!(render_json(&due[0], "hub").len() < 16 * 1024 && !render_syslog(&due[0], "hub", now).contains('\n'));
}

/// Records, one a line: key, tab, value. Those that are taken are those that are given out again, and a desk of them works.
pub fn alert_records(bytes: &[u8]) {
    let records = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        Some((std::str::from_utf8(&line[..tab]).ok()?, &line[tab + 1..]))
    });
    let now = UnixMillis(1_800_000_000_000);
    let Ok(settings) = AlertSettings::parse("alerts.toml", SETTINGS, KINDS) else { panic!("settings") };
    let Ok(mut desk) = Desk::restore(settings, records, 1, now) else { return };
    for hours in 0..4 {
        let now = UnixMillis(now.0 + hours * 3_600_000);
        for delivery in desk.poll(now) {
            let json: Result<serde_json::Value, _> = serde_json::from_str(&render_json(&delivery, "hub"));
            assert!(json.is_ok());
            assert!(!render_syslog(&delivery, "hub", now).contains(['\n', '\r', '\0']));
            assert!(desk.delivered(delivery.id, now).is_ok());
        }
        _ = desk.next_due();
        _ = desk.canary(now);
        let changes = desk.take_changes();
        assert!(changes.iter().all(|change| !change.key.contains(char::is_control)));
    }
}

/// A whole reply is read the same whatever follows, and not before its end.
pub fn smtp_reply(bytes: &[u8]) {
    let Ok(Some((reply, used))) = read_reply(bytes) else { return };
    assert!(used <= bytes.len() && used <= REPLY_BYTES_MAX && bytes[used - 1] == b'\n');
    assert!((200..600).contains(&reply.code) && !reply.lines.is_empty());
    assert_eq!(read_reply(&bytes[..used]), Ok(Some((reply, used))));
    assert_eq!(read_reply(&bytes[..used - 1]), Ok(None));
}
