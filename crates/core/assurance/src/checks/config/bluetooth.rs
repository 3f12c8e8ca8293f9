use super::{Review, expect_software};
use crate::{
    Inputs, Judgement,
    checks::of_one,
    evidence::config::{Said, Settings, Software},
};

const EXPECTED: &str = "discoverable and pairable for a time only, no silent re-pairing, keys of 16 bytes, secure connections, private addresses";

/// `cfg.bluetooth`: when a host can be found and paired with, and how (ISVS-4.3.1, ISVS-4.3.5, ISVS-4.3.7, IOTSF-2.4.7.23, CSA-SNT-01,
/// CSA-SNT-02).
pub(super) fn bluetooth(inputs: &Inputs<'_>) -> Judgement {
    of_one(inputs, judge)
}

/// What a setting must be for this check; `None`: that is no value of it.
type Test = fn(&str) -> Option<bool>;

/// BlueZ's settings, and what is bad about others.
const TESTS: &[(&str, &str, Test, &str)] = &[
    ("General", "DiscoverableTimeout", is_bounded, "it is discoverable without end"),
    ("General", "AlwaysPairable", is_off, "it is pairable without an agent"),
    ("General", "PairableTimeout", is_bounded, "it is pairable without end"),
    ("General", "JustWorksRepairing", is_never, "a peer pairs again without a question"),
    ("General", "Privacy", is_private, "its address is always the same"),
    ("General", "SecureConnections", is_secure, "secure connections are not demanded"),
    ("GATT", "KeySize", is_long, "shorter keys than 16 bytes are taken"),
];

fn judge(settings: &Settings) -> Judgement {
    let mut review = Review::default();
    if !expect_software(&mut review, settings, Software::Bluetoothd) {
        return review.judge(EXPECTED);
    }
    for (section, key, test, what) in TESTS {
        match settings.said(section, key) {
            Some(said) => review_one(&mut review, &settings.file, key, said, *test, what),
            None => review.gap(format!("{key} is not known")),
        }
    }
    review.unread(&settings.unread);
    review.fine(format!("{}: {} settings as they should be", settings.file, TESTS.len()));
    review.judge(EXPECTED)
}

fn review_one(review: &mut Review, file: &str, key: &str, said: &Said<String>, test: Test, what: &str) {
    match test(&said.value) {
        Some(true) => {}
        Some(false) => review.offend(file, said, format!("{key} = {}: {what}", said.value)),
        None => review.gap(format!("{key} = {}: that is no value of it ({file}, {})", said.value, said.place())),
    }
}

/// Seconds; 0 is for ever.
fn is_bounded(value: &str) -> Option<bool> {
    value.parse::<u32>().ok().map(|seconds| seconds > 0)
}

fn is_off(value: &str) -> Option<bool> {
    value.parse::<bool>().ok().map(|is_on| !is_on)
}

fn is_never(value: &str) -> Option<bool> {
    ["never", "confirm", "always"].contains(&value).then(|| value != "always")
}

fn is_private(value: &str) -> Option<bool> {
    ["off", "network/on", "network", "device", "limited-network", "limited-device"]
        .contains(&value)
        .then(|| value != "off")
}

fn is_secure(value: &str) -> Option<bool> {
    ["off", "on", "only"].contains(&value).then(|| value == "only")
}

/// Bytes; the Bluetooth Core Specification allows 7 to 16.
fn is_long(value: &str) -> Option<bool> {
    value.parse::<u8>().ok().map(|bytes| bytes == 16)
}
