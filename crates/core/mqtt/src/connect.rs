//! §3.1 CONNECT.

use portreeve_types::Qos;

use crate::{
    Answer, Connect, MessageProperties, Reason, Version, Violation, Will,
    properties::{Permitted, Property, id, visit},
    wire::{self, Reader},
};

/// The body of a CONNECT. Nothing is answered before the protocol name and level are known.
pub(crate) fn connect(mut body: Reader<'_>) -> Result<Connect<'_>, Violation> {
    let version = version(&mut body)?;
    fields(version, body).map_err(|violation| match version {
        // [MQTT-3.1.4-1], and of 3.1.1: a CONNECT that breaks §3.1 closes without a CONNACK.
        Version::V311 => violation.silent(),
        Version::V5 => violation,
    })
}

/// §3.1.2.1, §3.1.2.2
fn version(body: &mut Reader<'_>) -> Result<Version, Violation> {
    let name = body.binary().map_err(Violation::silent)?;
    let level = body.u8().map_err(Violation::silent)?;
    match (name, level) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", level) => Err(unsupported(level)),
        // [MQTT-3.1.2-1]
        _ => Err(Violation::protocol("MQTT-3.1.2-1", "the protocol is not named MQTT").silent()),
    }
}

/// [MQTT-3.1.2-2]: MQTT 3.1 (level 3) and its kin are refused in words they know, all other levels in those of 5.0.
fn unsupported(level: u8) -> Violation {
    let answer = if matches!(level, 3 | 4) { Answer::ReturnCode } else { Answer::ReasonCode };
    let reason = Reason::UNSUPPORTED_PROTOCOL_VERSION;
    Violation { answer, ..Violation::new(reason, "MQTT-3.1.2-2", "an unsupported protocol level") }
}

/// §3.1.2.3: the connect flags.
struct Flags {
    username: bool,
    password: bool,
    will: Option<(Qos, bool)>,
    clean_start: bool,
}

impl Flags {
    fn parse(version: Version, byte: u8) -> Result<Self, Violation> {
        // [MQTT-3.1.2-3]
        if byte & 1 != 0 {
            return Err(Violation::malformed("MQTT-3.1.2-3", "the reserved connect flag is set"));
        }
        let flags = Self {
            username: byte & 0x80 != 0,
            password: byte & 0x40 != 0,
            will: will_flags(byte)?,
            clean_start: byte & 2 != 0,
        };
        if version == Version::V311 && flags.password && !flags.username {
            return Err(Violation::protocol("MQTT-3.1.2-22 of 3.1.1", "a password without a user name"));
        }
        Ok(flags)
    }
}

/// §3.1.2.5 to §3.1.2.7
fn will_flags(byte: u8) -> Result<Option<(Qos, bool)>, Violation> {
    let (qos, retain) = (byte >> 3 & 3, byte & 0x20 != 0);
    // [MQTT-3.1.2-12], [MQTT-3.1.2-14] of 3.1.1
    let qos = Qos::from_bits(qos).ok_or(Violation::malformed("MQTT-3.1.2-12", "a will with QoS 3"))?;
    if byte & 4 != 0 {
        return Ok(Some((qos, retain)));
    }
    // [MQTT-3.1.2-11], [MQTT-3.1.2-13] of 3.1.1
    if qos != Qos::AtMostOnce {
        return Err(Violation::malformed("MQTT-3.1.2-11", "a will QoS without a will"));
    }
    // [MQTT-3.1.2-13], [MQTT-3.1.2-15] of 3.1.1
    if retain {
        return Err(Violation::malformed("MQTT-3.1.2-13", "a will retain without a will"));
    }
    Ok(None)
}

/// The fields in the order of [MQTT-3.1.3-1].
fn fields(version: Version, mut body: Reader<'_>) -> Result<Connect<'_>, Violation> {
    let flags = Flags::parse(version, body.u8()?)?;
    let mut connect =
        Connect { clean_start: flags.clean_start, keep_alive_s: body.u16()?, ..Connect::new(version, "") };
    if version == Version::V5 {
        properties(&mut connect, body.property_block()?)?;
    }
    connect.client_id = client_id(body.binary()?)?;
    if let Some((qos, retain)) = flags.will {
        connect.will = Some(will(version, qos, retain, &mut body)?);
    }
    // Credentials that do not parse are not discussed with the peer. [MQTT-3.1.3-12]
    if flags.username {
        connect.username = Some(body.text().map_err(Violation::silent)?);
    }
    if flags.password {
        connect.password = Some(body.binary().map_err(Violation::silent)?);
    }
    body.finish()?;
    Ok(connect)
}

/// [MQTT-3.1.3-4]: text; if not, [MQTT-3.1.3-8] names the reason.
fn client_id(bytes: &[u8]) -> Result<&str, Violation> {
    wire::text(bytes).map_err(|violation| Violation { reason: Reason::CLIENT_IDENTIFIER_NOT_VALID, ..violation })
}

/// §3.1.2.11
fn properties<'a>(connect: &mut Connect<'a>, block: &'a [u8]) -> Result<(), Violation> {
    let user_properties = visit(block, &Permitted::CONNECT, |identifier, property| match (identifier, property) {
        (id::SESSION_EXPIRY, Property::Long(seconds)) => connect.session_expiry_s = Some(seconds),
        (id::RECEIVE_MAXIMUM, Property::Short(maximum)) => connect.receive_maximum = Some(maximum),
        (id::MAXIMUM_PACKET_SIZE, Property::Long(bytes)) => connect.maximum_packet_bytes = Some(bytes),
        (id::TOPIC_ALIAS_MAXIMUM, Property::Short(maximum)) => connect.topic_alias_maximum = maximum,
        (id::REQUEST_RESPONSE_INFORMATION, Property::Byte(flag)) => connect.request_response_information = flag == 1,
        (id::REQUEST_PROBLEM_INFORMATION, Property::Byte(flag)) => connect.request_problem_information = flag == 1,
        (id::AUTHENTICATION_METHOD, Property::Text(text)) => connect.authentication_method = Some(text),
        (id::AUTHENTICATION_DATA, Property::Binary(data)) => connect.authentication_data = Some(data),
        _ => {}
    })?;
    connect.user_properties = user_properties;
    // §3.1.2.11.10
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        return Err(Violation::protocol("", "authentication data without a method"));
    }
    Ok(())
}

/// §3.1.3.2 to §3.1.3.4
fn will<'a>(version: Version, qos: Qos, retain: bool, body: &mut Reader<'a>) -> Result<Will<'a>, Violation> {
    let mut delay_s = 0;
    let mut properties = MessageProperties::default();
    if version == Version::V5 {
        let user_properties =
            visit(body.property_block()?, &Permitted::WILL, |identifier, property| match (identifier, property) {
                (id::WILL_DELAY, Property::Long(seconds)) => delay_s = seconds,
                _ => properties.take(identifier, property),
            })?;
        properties.user_properties = user_properties;
    }
    // [MQTT-3.1.3-11] [MQTT-4.7.0-1] [MQTT-4.7.3-1]: it is going to be a PUBLISH.
    let invalid = |clause, detail| Violation::new(Reason::TOPIC_NAME_INVALID, clause, detail);
    let topic = wire::topic(body.binary()?, invalid("MQTT-3.3.2-2", "the will topic holds a wildcard"))?;
    if topic.is_empty() {
        return Err(invalid("MQTT-4.7.3-1", "the will topic is empty"));
    }
    Ok(Will { qos, retain, topic, payload: body.binary()?, delay_s, properties })
}
