use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_alert::{
    Delivery, MAIL_BYTES_MAX, MailAddress, Notice, Occurrence, SYSLOG_BYTES_MAX, Severity, render_json, render_mail,
    render_syslog,
};
use portreeve_types::UnixMillis;
use proptest::prelude::*;

use crate::Office;

const NOW: UnixMillis = UnixMillis(1_800_000_000_123);
const HOSTILE: &str =
    "a\r\nBcc: eve@example.org\r\n\r\n.\r\nQUIT \"q\" \\ ] [x y=\"z\"] \u{202e}\u{0}\u{1b}[2J äöü 🔒 %0a <b>";

fn deliveries(subject: &str, text: &str, group: &str) -> Vec<Delivery> {
    let mut office = Office::new();
    let kind = "auth_failures".parse().unwrap();
    let occurrence = Occurrence::new(kind, Severity::High, subject, text).group(group);
    office.desk.raise(occurrence.number("failures".parse().unwrap(), 5), office.now);
    let mut given = office.desk.poll(office.now);
    for number in 0..9 {
        office.raise("device_silent", Severity::Low, &format!("{number} {subject}"));
    }
    office.pass(61);
    given.iter().for_each(|delivery| _ = office.desk.delivered(delivery.id, office.now).unwrap());
    loop {
        let due = office.desk.poll(office.now);
        if due.is_empty() {
            break;
        }
        due.iter().for_each(|delivery| _ = office.desk.delivered(delivery.id, office.now).unwrap());
        given.extend(due);
    }
    assert!(given.iter().any(|delivery| matches!(delivery.notice, Notice::Digest(_))));
    given
}

fn mail(delivery: &Delivery, hub: &str) -> String {
    let (from, to): (MailAddress, MailAddress) =
        ("hub@example.org".parse().unwrap(), "ann@example.org".parse().unwrap());
    render_mail(delivery, &from, &to, hub, NOW)
}

fn body(mail: &str) -> String {
    let (_, body) = mail.split_once("\r\n\r\n").unwrap();
    String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap()
}

fn check(delivery: &Delivery, hub: &str) {
    // JSON: one object on one line, with what was told.
    let json = render_json(delivery, hub);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(!json.contains(char::is_control) && json.len() < 16 * 1024);
    assert_eq!(value["key"], delivery.idempotency_key);
    if let Notice::Alert { alert, .. } = &delivery.notice {
        assert_eq!(value["alert"]["subject"], alert.subject.as_str());
        assert_eq!(value["alert"]["text"], alert.text.as_str());
    }
    // Mail: our headers and no others, lines of ASCII that end as they should, one body.
    let mail = mail(delivery, hub);
    assert!(
        mail.is_ascii() && mail.len() <= MAIL_BYTES_MAX && mail.replace("\r\n", "").find(['\r', '\n', '\0']).is_none()
    );
    assert_eq!(mail.matches("\r\n\r\n").count(), 1);
    let (headers, base64) = mail.split_once("\r\n\r\n").unwrap();
    let names =
        headers.split("\r\n").filter(|line| !line.starts_with(' ')).map(|line| line.split_once(": ").unwrap().0);
    let names: Vec<_> = names.filter(|name| *name != "Importance").collect();
    let expected = [
        "Date",
        "From",
        "To",
        "Message-ID",
        "Subject",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];
    assert_eq!(names, expected);
    assert!(mail.split("\r\n").all(|line| line.len() <= 90) && !base64.split("\r\n").any(|line| line.starts_with('.')));
    assert!(body(&mail).contains(delivery.notice.alert().map_or("more notices", |alert| alert.text.as_str())));
    // Syslog: one line; the element ends where it should, and its values read back.
    let line = render_syslog(delivery, hub, NOW);
    assert!(line.len() <= SYSLOG_BYTES_MAX && !line.contains(['\r', '\n', '\0', '\u{1b}']));
    let (header, rest) = line.split_once(" [alert@32473").unwrap();
    assert_eq!(header.split(' ').count(), 6, "{header}");
    let (parameters, message) = element(rest);
    assert!(message.starts_with(" \u{feff}"), "{message}");
    if let Notice::Alert { alert, .. } = &delivery.notice {
        let value = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(value("subject"), Some(alert.subject.as_str()));
        assert_eq!(value("group"), alert.group.as_ref().map(|group| group.as_str()));
        assert!(value("Bcc").is_none() && value("y").is_none());
        assert_eq!(message.trim_start_matches(" \u{feff}"), alert.text.as_str());
    }
}

/// Reads parameters as RFC 5424 §6.3 has them, and what follows their element.
fn element(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    while let Some(after) = rest.strip_prefix(' ') {
        let (name, after) = after.split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), after.char_indices());
        loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(chars.next().unwrap().1),
                (at, '"') => {
                    rest = &after[at + 1..];
                    break;
                }
                (_, ']') => panic!("an element that ends in a value"),
                (_, c) => value.push(c),
            }
        }
        parameters.push((name.to_owned(), value));
    }
    (parameters, rest.strip_prefix(']').unwrap())
}

#[test]
fn hostile_texts_stay_in_their_place() {
    let long = "]\"\\ä".repeat(16_384);
    for text in [HOSTILE, &long, "", "\u{feff}", "=?utf-8?B?eA==?="] {
        for delivery in deliveries(text, text, text) {
            check(&delivery, "hub.example.org");
            check(&delivery, text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_stays_in_its_place(subject in any::<String>(), text in any::<String>(), hub in any::<String>()) {
        for delivery in deliveries(&subject, &text, &subject) {
            check(&delivery, &hub);
        }
    }
}

#[test]
fn a_line_of_syslog_is_what_the_standard_shows() {
    let delivery = &deliveries("lamp-1", "five failures", "")[0];
    let key = &delivery.idempotency_key;
    let expected = format!(
        "<83>1 2027-01-15T08:00:00.123Z hub.example.org portreeve - auth_failures [alert@32473 alert=\"0\" \
         notice=\"opened\" kind=\"auth_failures\" severity=\"high\" subject=\"lamp-1\" group=\"\" count=\"1\" \
         opened=\"2027-01-15T08:00:00.000Z\" n.failures=\"5\" key=\"{key}\" contact=\"ann\"] \u{feff}five failures"
    );
    assert_eq!(render_syslog(delivery, "hub.example.org", NOW), expected);
    assert!(render_syslog(delivery, "\n ", NOW).contains("Z - portreeve - "));
}

#[test]
fn a_mail_says_in_its_subject_what_matters() {
    let mail = mail(&deliveries("lampe-ä", "fünf", "")[0], "hub.example.org");
    assert!(
        mail.starts_with("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nFrom: hub@example.org\r\nTo: ann@example.org\r\n")
    );
    assert!(mail.contains("\r\nImportance: high\r\n"));
    let subject = mail.split("Subject: ").nth(1).unwrap().split("\r\nAuto").next().unwrap();
    let words = subject.split("\r\n ").map(|word| word.trim_start_matches("=?utf-8?B?").trim_end_matches("?="));
    let decoded: Vec<u8> = words.flat_map(|word| STANDARD.decode(word).unwrap()).collect();
    assert_eq!(
        String::from_utf8(decoded).unwrap(),
        "[high] auth_failures lampe-ä (opened, alert 0 of hub.example.org)"
    );
    assert!(body(&mail).contains("failures: 5\n") && body(&mail).contains("portreeve alert ack 0"));
}
