//! SNMP agents: which versions they answer, and whether they take communities that everybody knows (IOTSF-2.4.7.4, IIITA-N7,
//! CSA-SNT-10). Only sysDescr is asked for; nothing is written.

use std::{io::ErrorKind, time::Duration};

use futures_util::future::join_all;
use portreeve_assurance::evidence::{
    Seen, printable,
    snmp::{CommunityVersion, SnmpScan},
};
use snmp_parser::{
    ObjectSyntax, PduType, SnmpGenericMessage, SnmpMessage, SnmpPdu, VarBindValue, parse_snmp_generic_message,
};

use crate::{Dialer, Gap, ports::SNMP3_DISCOVER, wire::sized};

/// Communities that devices are delivered with.
pub const COMMUNITIES: [&str; 8] = ["public", "private", "community", "manager", "admin", "snmp", "cisco", "default"];
/// How long an agent may think, and how often it is asked: UDP loses questions.
const ANSWER_WAIT: Duration = Duration::from_millis(1200);
const TRIES: u32 = 2;
/// Versions as the wire has them, and as people do.
const VERSIONS: [(u8, &str); 2] = [(0, "1"), (1, "2c")];

/// Asks the agent at the dialer's address.
pub async fn scan(dialer: &Dialer) -> SnmpScan {
    let (versions, v3) = futures_util::future::join(
        join_all(VERSIONS.map(|version| community_version(dialer, version))),
        engine(dialer),
    )
    .await;
    SnmpScan {
        port: dialer.address().port(),
        communities: u32::try_from(COMMUNITIES.len()).unwrap_or(u32::MAX),
        versions,
        v3,
        effort: dialer.effort(),
    }
}

async fn community_version(dialer: &Dialer, (wire, name): (u8, &str)) -> CommunityVersion {
    let asked = COMMUNITIES.iter().enumerate().map(|(number, community)| async move {
        let request_id = [0x50, 0x72, wire, u8::try_from(number).unwrap_or(u8::MAX)];
        match ask(dialer, &get(wire, community, request_id)).await {
            Ok(answer) => description(&answer, u32::from_be_bytes(request_id)),
            Err(Gap::Silent(_) | Gap::Unreachable(ErrorKind::ConnectionRefused)) => Ok(None),
            Err(gap) => Err(gap),
        }
    });
    let (mut answered, mut line, mut gap) = (0, String::new(), None);
    for answer in join_all(asked).await {
        match answer {
            Ok(Some(description)) => {
                answered += 1;
                if line.is_empty() {
                    line = description;
                }
            }
            Ok(None) => {}
            Err(why) => gap = Some(why),
        }
    }
    let answered = match gap {
        // What was answered is known, whatever else is not.
        Some(gap) if answered == 0 => Seen::Unknown(gap.to_string()),
        _ => Seen::Known(answered),
    };
    CommunityVersion { version: name.to_owned(), answered, description: line }
}

/// Whether an engine of version 3 reports itself (RFC 3414 section 4).
async fn engine(dialer: &Dialer) -> Seen<bool> {
    match ask(dialer, SNMP3_DISCOVER).await {
        Ok(answer) if is_v3(&answer) => Seen::Known(true),
        Ok(_) => Seen::Unknown("something other than a report comes".into()),
        Err(Gap::Unreachable(ErrorKind::ConnectionRefused)) => Seen::Known(false),
        Err(gap) => Seen::Unknown(gap.to_string()),
    }
}

async fn ask(dialer: &Dialer, question: &[u8]) -> Result<Vec<u8>, Gap> {
    let socket = dialer.socket(dialer.address().port()).await?;
    let mut answer = Err(Gap::Silent(ANSWER_WAIT));
    for _ in 0..TRIES {
        answer = dialer.ask_datagram(&socket, question, ANSWER_WAIT).await;
        if !matches!(answer, Err(Gap::Silent(_))) {
            break;
        }
    }
    answer
}

/// GetRequest for sysDescr.0 (RFC 1157 section 4.1.2, RFC 1901). Everything in it is shorter than 128 bytes.
#[must_use]
pub fn get(version: u8, community: &str, request_id: [u8; 4]) -> Vec<u8> {
    const SYS_DESCR: &[u8] = b"\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00";
    let mut out = vec![0x30];
    sized::<1>(&mut out, |out| {
        out.extend([2, 1, version, 4]);
        sized::<1>(out, |out| out.extend(community.as_bytes()));
        out.push(0xa0);
        sized::<1>(out, |out| {
            out.extend([2, 4]);
            out.extend(request_id);
            out.extend([2, 1, 0, 2, 1, 0]);
            out.extend(SYS_DESCR);
        });
    });
    out
}

/// What an agent of version 1 or 2c says of its system, in one line; nothing, if this is no answer to the question.
///
/// # Errors
/// [`Gap::Odd`], if it is no SNMP.
pub fn description(answer: &[u8], request_id: u32) -> Result<Option<String>, Gap> {
    let Ok((_, message)) = parse_snmp_generic_message(answer) else {
        return Err(Gap::Odd("something other than SNMP comes".into()));
    };
    let (SnmpGenericMessage::V1(message) | SnmpGenericMessage::V2(message)) = message else { return Ok(None) };
    let SnmpMessage { pdu: SnmpPdu::Generic(pdu), .. } = message else { return Ok(None) };
    if pdu.pdu_type != PduType::Response || pdu.req_id != request_id {
        return Ok(None);
    }
    let text = pdu.var.iter().find_map(|variable| match variable.val {
        VarBindValue::Value(ObjectSyntax::String(text)) => Some(printable(text)),
        _ => None,
    });
    Ok(Some(text.unwrap_or_else(|| "an answer without a description".into())))
}

/// Whether this is a message of version 3.
#[must_use]
pub fn is_v3(answer: &[u8]) -> bool {
    matches!(parse_snmp_generic_message(answer), Ok((_, SnmpGenericMessage::V3(_))))
}
