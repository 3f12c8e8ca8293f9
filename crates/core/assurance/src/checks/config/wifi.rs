use super::Review;
use crate::{
    Inputs, Judgement,
    evidence::config::{
        Said,
        wifi::{Protection, WifiConfig, WifiKeys, WifiNetwork, WifiSecret},
    },
};

const EXPECTED: &str =
    "WPA2 or WPA3 with CCMP or GCMP, protected management frames, no WPS, a key or identity for each station";

/// `cfg.wifi`: what protects a network (ISVS-4.4.2, ISVS-4.4.3, ISVS-4.4.4, IOTSF-2.4.7.9, IOTSF-2.4.7.10, IOTSF-2.4.7.11, IOTSF-2.4.7.22,
/// IIITA-N1, CSA-SNT-11).
pub(super) fn wifi(inputs: &Inputs<'_>) -> Judgement {
    match (inputs.declared::<WifiConfig>(), inputs.declared::<WifiKeys>()) {
        (Err(judgement), _) | (_, Err(judgement)) => judgement,
        (Ok(Some(config)), Ok(keys)) => of_config(&config, keys.as_ref()),
        (Ok(None), Ok(Some(keys))) => {
            let mut review = Review::default();
            review_keys(&mut review, &keys);
            review.part("the configuration that uses the keys was not given");
            review.judge(EXPECTED)
        }
        (Ok(None), Ok(None)) => {
            inputs.one::<WifiConfig>().map_or_else(|judgement| judgement, |config| of_config(&config, None))
        }
    }
}

fn of_config(config: &WifiConfig, keys: Option<&WifiKeys>) -> Judgement {
    let mut review = Review::default();
    for network in &config.networks {
        review_network(&mut review, config, network, keys);
    }
    if config.networks.is_empty() {
        review.gap(format!("{} has no network", config.file));
    }
    review.unread(&config.unread);
    review.fine(format!("{}: {} networks as they should be", config.software, config.networks.len()));
    review.judge(EXPECTED)
}

fn review_network(review: &mut Review, config: &WifiConfig, network: &WifiNetwork, keys: Option<&WifiKeys>) {
    let (file, ssid) = (&config.file, &network.ssid.value);
    let WifiNetwork { wpa1, rsn, wep, key_management, ciphers, management_protection, wps, .. } = network;
    review.offend_if(wep.value, file, wep, format!("{ssid}: WEP"));
    review.offend_if(wpa1.value, file, wpa1, format!("{ssid}: WPA, the first version, is spoken"));
    review.offend_if(!rsn.value, file, rsn, format!("{ssid}: neither WPA2 nor WPA3"));
    review.offend_if(wps.value, file, wps, format!("{ssid}: WPS is on"));
    let weak = |cipher: &&String| !cipher.starts_with("CCMP") && !cipher.starts_with("GCMP");
    for cipher in ciphers.value.iter().filter(weak).filter(|_| rsn.value) {
        review.offend(file, ciphers, format!("{ssid}: cipher {cipher}"));
    }
    let open = key_management.value.iter().any(|name| ["NONE", "OWE-TRANSITION"].contains(&name.as_str()));
    review.offend_if(open, file, key_management, format!("{ssid}: joined without a key"));
    let has_sae = key_management.value.iter().any(|name| name.contains("SAE"));
    match management_protection.value {
        Protection::Off if rsn.value => {
            review.offend(file, management_protection, format!("{ssid}: management frames are not protected"))
        }
        Protection::Off | Protection::Required => {}
        Protection::Optional if has_sae && key_management.value.len() == 1 => {
            review.offend(
                file,
                management_protection,
                format!("{ssid}: SAE without required protection of management frames"),
            );
        }
        Protection::Optional => {
            review.part(format!("{ssid}: stations without protection of management frames are let in"))
        }
    }
    if has_sae && !network.sae_hash_to_element.value {
        review.part(format!("{ssid}: SAE by hunting and pecking is accepted"));
    }
    if config.is_access_point && !network.is_isolated.value {
        review.part(format!("{ssid}: stations reach each other directly"));
    }
    review_secret(review, config, network, keys);
}

fn review_secret(review: &mut Review, config: &WifiConfig, network: &WifiNetwork, keys: Option<&WifiKeys>) {
    let (file, ssid, secret) = (&config.file, &network.ssid.value, &network.secret);
    match &secret.value {
        WifiSecret::None => {}
        WifiSecret::WellKnown => review.offend(file, secret, format!("{ssid}: a passphrase that everybody knows")),
        WifiSecret::ShortPassphrase => {
            review.offend(file, secret, format!("{ssid}: a passphrase of less than 12 characters"))
        }
        WifiSecret::Passphrase | WifiSecret::LongPassphrase | WifiSecret::Key if config.is_access_point => {
            review.offend(file, secret, format!("{ssid}: one secret for all stations"));
        }
        WifiSecret::Elsewhere => review.part(format!("{ssid}: its secret is kept elsewhere")),
        WifiSecret::File(name) => match keys {
            Some(keys) => review_keys(review, keys),
            None => review.part(format!("{ssid}: {name}, which has the keys, was not given")),
        },
        WifiSecret::Passphrase | WifiSecret::LongPassphrase | WifiSecret::Key | WifiSecret::Enterprise => {}
    }
}

fn review_keys(review: &mut Review, keys: &WifiKeys) {
    let file = &keys.file;
    for (lines, what) in [
        (&keys.for_everybody, "a key for every station"),
        (&keys.repeated, "a key that another station has too"),
        (&keys.short, "a passphrase of less than 12 characters"),
    ] {
        lines.iter().for_each(|line| review.offend(file, &Said::at(*line, ()), what));
    }
    if keys.entries == 0 {
        review.gap(format!("{file} has no key"));
    }
    review.fine(format!("{file}: {} keys of stations", keys.entries));
}
