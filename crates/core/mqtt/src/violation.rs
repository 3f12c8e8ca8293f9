use crate::Reason;

/// What a refused peer may be told before its connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: 3.1.1 has no words for it, or the peer does not visibly speak MQTT.
    Nothing,
    /// A CONNACK in 3.1.1 form with [`Reason::connect_return_code`].
    ReturnCode,
    /// The reason in 5.0 form: a CONNACK before the connection is accepted, a DISCONNECT after.
    ReasonCode,
}

/// A packet that breaks the specification. It always ends the connection [MQTT-4.13.1-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}: {reason} {clause}")]
pub struct Violation {
    /// The 5.0 reason code: malformed (0x81) for what cannot be parsed, protocol error (0x82) for what parses and is
    /// forbidden, or a nearer one.
    pub reason: Reason,
    /// The normative statement that was broken, such as `MQTT-3.3.1-4`; empty where the text states a rule without
    /// numbering it.
    pub clause: &'static str,
    /// What was wrong, for the log.
    pub detail: &'static str,
    /// What may be said to the peer.
    pub answer: Answer,
}

impl Violation {
    /// A violation that a 5.0 peer is told of.
    #[must_use]
    pub const fn new(reason: Reason, clause: &'static str, detail: &'static str) -> Self {
        Self { reason, clause, detail, answer: Answer::ReasonCode }
    }

    /// What cannot be parsed.
    #[must_use]
    pub const fn malformed(clause: &'static str, detail: &'static str) -> Self {
        Self::new(Reason::MALFORMED_PACKET, clause, detail)
    }

    /// What parses and is forbidden.
    #[must_use]
    pub const fn protocol(clause: &'static str, detail: &'static str) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, clause, detail)
    }

    /// The same violation, answered by closing without a word.
    #[must_use]
    pub const fn silent(self) -> Self {
        Self { answer: Answer::Nothing, ..self }
    }
}
