use portreeve_alert::{
    AlertSettings, CHANNELS_MAX, CONTACTS_MAX, ChannelKind, ROUTES_MAX, SETTINGS_BYTES_MAX, SmtpSecurity,
};
use portreeve_types::UnixMillis;

use crate::{KINDS, SETTINGS, settings};

fn problems(text: &str) -> Vec<String> {
    let error = AlertSettings::parse("alerts.toml", text, KINDS).expect_err(text);
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_not_said_has_a_default() {
    let settings = settings(SETTINGS);
    let [hook, mail, log] = settings.channels() else { panic!() };
    assert_eq!((hook.per_minute, mail.per_minute), (4, 20));
    assert_eq!(hook.kind.server().unwrap().to_string(), "hook.example.org:443");
    assert!(
        matches!(&mail.kind, ChannelKind::Smtp(smtp) if smtp.security == SmtpSecurity::Tls && smtp.server.port == 465)
    );
    assert_eq!(log.kind.server().unwrap().port, 6514);
    let starttls = SETTINGS.replace("\"tls\"", "\"starttls\"");
    assert_eq!(crate::settings(&starttls).channels()[1].kind.server().unwrap().port, 587);
}

/// Contacts younger than a set age.
#[test]
fn contacts_that_nobody_reviewed_are_told() {
    let settings = settings(SETTINGS);
    let day = |days: u64| UnixMillis(1_793_491_200_000 + days * 86_400_000);
    let overdue = |now| settings.overdue_contacts(now).count();
    assert_eq!([overdue(day(0)), overdue(day(180)), overdue(day(181))], [0, 0, 3]);
    assert_eq!(overdue(UnixMillis(day(0).0 - 2 * 86_400_000)), 3, "reviewed in the future");
    let short = crate::settings(&format!("contact_review_days = 30\n{SETTINGS}"));
    assert_eq!(short.overdue_contacts(day(31)).count(), 3);
}

#[test]
fn every_problem_has_its_line_and_column() {
    let text = SETTINGS
        .replace("per_minute = 4", "per_minute = 0\ncolour = \"red\"")
        .replace("https://hook", "http://hook")
        .replace("\"tls\"", "\"none\"")
        .replace("bob@example.org", "bob")
        .replace("acknowledge_within_s = 300", "acknowledge_within_s = \"300\"")
        .replace("groups = [\"plant\"]", "groups = [\"plant\"]\nkinds = [\"auth_failure\"]\nseverity = \"huge\"");
    let told = problems(&text);
    let expected = [
        "alerts.toml:5:7: url: https://HOST/PATH is expected",
        "alerts.toml:7:14: per_minute: a number from 1 to 600 is expected",
        "alerts.toml:8:1: unknown key `colour`; there are: name, per_minute, kind, url, secret_file, ca_file",
        "alerts.toml:14:12: security: tls or starttls is expected",
        "alerts.toml:31:8: mail: a mail address such as ann@example.org is expected",
    ];
    for line in expected {
        assert!(told.iter().any(|problem| problem.starts_with(line)), "{line}\n{told:#?}");
    }
    assert!(told.iter().any(|line| line.contains("severity: one of info, low")), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("nothing raises alerts of the kind `auth_failure`")), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("acknowledge_within_s: a number from 30")), "{told:#?}");
}

#[test]
fn names_are_unique_known_and_used() {
    let cases = [
        (SETTINGS.replace("name = \"bob\"", "name = \"ann\""), "there is a contact `ann` already"),
        (SETTINGS.replace("name = \"log\"", "name = \"mail\""), "there is a channel `mail` already"),
        (SETTINGS.replace("channels = [\"log\"]", "channels = [\"fax\"]"), "there is no channel `fax`"),
        (SETTINGS.replace("channels = [\"log\"]", "channels = [\"mail\"]"), "`mail` sends mails, so `mail` is needed"),
        (SETTINGS.replace("channels = [\"log\"]", "channels = [\"hook\"]"), "no contact uses the channel `log`"),
        (SETTINGS.replace("[\"ann\", \"bob\"]", "[\"ann\", \"eve\"]"), "there is no contact `eve`"),
        (SETTINGS.replace("[\"ann\", \"bob\"]", "[\"ann\"]"), "no route leads to the contact `bob`"),
        (SETTINGS.replace("[\"ann\", \"bob\"]", "[\"ann\", \"ann\"]"), "there is a contact `ann` already"),
        (SETTINGS.replace("groups = [\"plant\"]\n", ""), "this route takes every alert"),
        (SETTINGS.replace("repeat_s = 600", "severity = \"high\""), "the last [[route]] has to take every alert"),
        (SETTINGS.replace("name = \"hook\"", "name = \"../hook\""), "is not a valid name"),
        (SETTINGS.replace("/etc/portreeve/hook.secret", "hook.secret"), "the absolute path of a file is expected"),
        (SETTINGS.replace("secret_file = \"/etc/portreeve/hook.secret\"", ""), "`secret_file` is missing"),
        (SETTINGS.replace("reviewed = 2026-11-01", "reviewed = \"2026-11-01\""), "without quotes, is expected"),
        (SETTINGS.replace("per_minute = 4", "key_file = \"/k\""), "belong together"),
        (SETTINGS.replace("per_minute = 4", "secret = \"x\""), "unknown key `secret`"),
        (
            SETTINGS.replace("kind = \"syslog\"", "kind = \"mqtt\"\ntopic = \"$SYS/alerts\""),
            "topic: a topic below `$SYS/portreeve/`",
        ),
        (SETTINGS.replace("kind = \"syslog\"", "kind = \"mqtt\"\ntopic = \"a/#\""), "topic"),
        (format!("\u{1b}x = 1\n{SETTINGS}"), "alerts.toml:1:1: "),
        (String::new(), "the last [[route]] has to take every alert"),
        ("channel = 3".to_owned(), "write [[channel]] and its keys below"),
        ("[[channel]]\nname = ".to_owned(), "alerts.toml:2:"),
    ];
    for (text, expected) in cases {
        let told = problems(&text);
        assert!(told.iter().any(|line| line.contains(expected)), "{expected}: {told:#?}");
        assert!(!told.iter().any(|line| line.contains('\u{1b}')), "{told:?}");
    }
}

#[test]
fn bounds_hold() {
    let too_many = |table: &str, count: usize| format!("[[{table}]]\n").repeat(count + 1);
    for (table, max) in [("channel", CHANNELS_MAX), ("contact", CONTACTS_MAX), ("route", ROUTES_MAX)] {
        let told = problems(&too_many(table, max));
        assert!(told.iter().any(|line| line.contains(&format!("at most {max} of [[{table}]]"))), "{told:?}");
    }
    let told = problems(&"#".repeat(SETTINGS_BYTES_MAX + 1));
    assert!(told[0].contains("larger than"), "{told:?}");
    let told = problems(&format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000)));
    assert_eq!(told.len(), 1, "{}", told.len());
    // What is told is bounded too.
    let told = problems(&(0..500).map(|number| format!("key{number} = 1\n")).collect::<String>());
    assert!(told.len() <= 64);
}
