use std::time::Duration;

use portreeve_assurance::evidence::ports::Service;

use super::door::Answered;
use crate::{
    dial::{Dialer, Gap},
    ports::{SNMP3_DISCOVER, recognise_datagram},
};

/// How long an agent may think, and how often it is asked: datagrams get lost.
const ANSWER_WAIT: Duration = Duration::from_millis(600);
const ASKED_MAX: u32 = 2;
/// What marks our question and its answer.
const REQUEST_ID: [u8; 4] = *b"prbd";

/// GetRequest for sysDescr.0 in version 2c (RFC 1901, RFC 3416), with a short community.
fn get(community: &str) -> Vec<u8> {
    let pdu = [
        &[0x02, 4][..],
        &REQUEST_ID,
        // Error status and index, and one variable without a value.
        b"\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00",
    ]
    .concat();
    let community = &community.as_bytes()[..community.len().min(60)];
    let body = [&[2, 1, 1][..], &element(4, community), &element(0xa0, &pdu)].concat();
    element(0x30, &body)
}

/// Type, length and value (X.690 section 8.1), of less than 128 bytes: [`get`] makes no longer ones.
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[tag, length][..], value].concat()
}

/// Whether a datagram answers our question: a message of version 2c, with our request's number in it.
#[must_use]
pub fn is_answer(datagram: &[u8]) -> bool {
    let is_message = matches!(datagram, [0x30, 0x81, _, 2, 1, 1, 4, ..] | [0x30, 0x82, _, _, 2, 1, 1, 4, ..])
        || matches!(datagram, [0x30, length, 2, 1, 1, 4, ..] if *length < 0x80);
    let is_ours = |window: &[u8]| window == [&[2, 4][..], &REQUEST_ID].concat();
    is_message && datagram.contains(&0xa2) && datagram.windows(6).any(is_ours)
}

/// Tries a community. An agent does not answer those whom it does not know (RFC 3584 section 5.2.1).
pub(super) async fn knock(dialer: &Dialer, community: &str) -> Result<Answered, Gap> {
    match ask(dialer, &get(community)).await {
        Ok(answer) if is_answer(&answer) => Ok(Answered::let_in()),
        Ok(_) => Err(Gap::Odd("something other than SNMP answers".into())),
        Err(Gap::Silent(_)) => Ok(Answered::refused("silence")),
        Err(gap) => Err(gap),
    }
}

/// Whether an agent is there at all: those of version 3 say who they are (RFC 3414 section 4).
///
/// # Errors
/// [`Gap`], if that is not known: an agent without version 3 is as silent as nobody.
pub(super) async fn look(dialer: &Dialer) -> Result<(), Gap> {
    match ask(dialer, SNMP3_DISCOVER).await? {
        answer if recognise_datagram(161, &answer) == Service::Snmp3 => Ok(()),
        _ => Err(Gap::Odd("something other than SNMP answers".into())),
    }
}

async fn ask(dialer: &Dialer, question: &[u8]) -> Result<Vec<u8>, Gap> {
    let socket = dialer.socket(dialer.address().port()).await?;
    for _ in 1..ASKED_MAX {
        match dialer.ask_datagram(&socket, question, ANSWER_WAIT).await {
            Err(Gap::Silent(_)) => {}
            answer => return answer,
        }
    }
    dialer.ask_datagram(&socket, question, ANSWER_WAIT).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_no_answers_and_answers_are() {
        let mut message = get("public");
        assert_eq!(usize::from(message[1]), message.len() - 2);
        assert!(!is_answer(&message));
        let pdu = message.iter().position(|byte| *byte == 0xa0).unwrap();
        message[pdu] = 0xa2;
        assert!(is_answer(&message));
        for length in 0..pdu + 8 {
            assert!(!is_answer(&message[..length]), "{length}");
        }
        assert_eq!(get(&"x".repeat(1000)).len(), get(&"x".repeat(60)).len());
    }
}
