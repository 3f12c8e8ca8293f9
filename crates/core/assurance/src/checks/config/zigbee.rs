use super::Review;
use crate::{
    Inputs, Judgement,
    checks::of_one,
    evidence::config::zigbee::{NetworkKey, ZigbeeConfig},
};

const EXPECTED: &str = "a network key of its own, joining closed, install codes, and a broker in TLS";

/// `cfg.zigbee`: what protects a Zigbee network (IOTSF-2.4.7.9, CSA-SNT-11, CSA-SNT-15, CSA-SNT-17). That keys are changed in time, a
/// configuration does not show: `cap.zigbee.rotate` does.
pub(super) fn zigbee(inputs: &Inputs<'_>) -> Judgement {
    of_one(inputs, judge)
}

fn judge(config: &ZigbeeConfig) -> Judgement {
    let mut review = Review::default();
    let file = &config.file;
    let key = &config.network_key;
    match key.value {
        NetworkKey::Default => review.offend(file, key, "the network key is the one that comes with the software"),
        NetworkKey::Guessable => review.offend(file, key, "the network key can be guessed"),
        NetworkKey::Elsewhere => review.part("the network key stands in another file"),
        NetworkKey::Generated => review.fine("the network key is made at random"),
        NetworkKey::Own => review.fine("the network has a key of its own"),
    }
    review.offend_if(config.permit_join.value, file, &config.permit_join, "devices may join from the start");
    review.offend_if(
        config.pan_id_is_default.value,
        file,
        &config.pan_id_is_default,
        "the network has the identifier that comes with the software",
    );
    match &config.install_codes_only {
        Some(codes) => review.offend_if(!codes.value, file, codes, "devices join without an install code"),
        None => review.part("whether devices need an install code is decided at each join, and was not seen"),
    }
    if let Some(in_clear) = &config.is_broker_in_clear {
        review.offend_if(in_clear.value, file, in_clear, "the MQTT broker is reached in clear");
    }
    review.offend_if(
        config.is_broker_unchecked.value,
        file,
        &config.is_broker_unchecked,
        "the MQTT broker's certificate is not checked",
    );
    review.offend_if(config.is_page_open.value, file, &config.is_page_open, "its page needs no token");
    review.unread(&config.unread);
    review.judge(EXPECTED)
}
