//! The end of a device's life: it is told to wipe itself, it is retired, and two persons state what became of it
//! (CSA-EOL-01).

use portreeve_types::{IdentityName, LifecycleState, Qos, TopicName, UnixMillis};
use serde_json::{Value, json};

use crate::{
    Actor, AdminError, Hub,
    broker::{Envelope, Message},
    registry::{ASKED, By, DISPOSAL, WIPE},
};

/// Longest statement, characters.
const STATEMENT_CHARS_MAX: usize = 256;

impl Hub {
    /// Confines a device and has it told to wipe itself, now or when it comes back.
    pub(crate) fn wipe(
        &self,
        actor: &Actor,
        name: &IdentityName,
        reason: &str,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let by = By { actor: &actor.name, reason, at: now };
        let row = self.registry.find(name)?;
        if !matches!(row.state, LifecycleState::Active | LifecycleState::Quarantined) {
            let text = format!(
                "`{name}` is {}, and cannot come to hear that; only an active or quarantined device can",
                row.state
            );
            return Err(AdminError::Refused(text));
        }
        if row.state != LifecycleState::Quarantined {
            self.move_identity(name, LifecycleState::Quarantined, By { reason: "to be wiped", ..by })?;
        }
        self.registry.note(row.id, WIPE, ASKED, by)?;
        let payload = json!({ "wipe": true, "asked_ms": now.0 }).to_string();
        self.command_to_wipe(name, payload.as_bytes(), now);
        Ok(json!({ "name": name, "wipe": "asked", "topic": wipe_topic(name) }))
    }

    /// Two persons state what became of a retired device. That both do is seen to before.
    pub(crate) fn dispose(
        &self,
        actor: &Actor,
        name: &IdentityName,
        statement: &str,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let row = self.expect_disposable(name, statement)?;
        let by = By { actor: &actor.name, reason: "disposal statement", at: now };
        self.registry.note(row, DISPOSAL, statement, by)?;
        Ok(json!({ "name": name, "disposal": statement, "by": actor.name }))
    }

    /// Said at once, not only to the second person.
    pub(crate) fn expect_disposable(
        &self,
        name: &IdentityName,
        statement: &str,
    ) -> Result<portreeve_types::IdentityId, AdminError> {
        let row = self.registry.find(name)?;
        let length = statement.chars().count();
        if statement.trim().is_empty() || length > STATEMENT_CHARS_MAX || statement.chars().any(char::is_control) {
            let text = format!("a statement has 1 to {STATEMENT_CHARS_MAX} characters without control characters");
            return Err(AdminError::Invalid(text));
        }
        if row.state != LifecycleState::Retired {
            return Err(AdminError::Refused(format!(
                "`{name}` is {}; `portreeve device retire {name}` comes first",
                row.state
            )));
        }
        Ok(row.id)
    }

    /// Nobody is told to wipe themselves any more: the identity is out of service.
    pub(crate) fn withdraw_wipe(&self, name: &IdentityName, now: UnixMillis) {
        let is_there = self.retained.read().holds(&wipe_topic(name));
        if is_there {
            self.command_to_wipe(name, b"", now);
        }
    }

    fn command_to_wipe(&self, name: &IdentityName, payload: &[u8], now: UnixMillis) {
        // A name is one level of a topic.
        let Ok(topic) = TopicName::new(&wipe_topic(name)) else { return };
        let (qos, retain) = (Qos::AtLeastOnce, true);
        let envelope = Envelope { topic, publisher: None, qos, retain, expires: None, received: now };
        let message = Message::new(envelope, &[], payload);
        self.publish_detached(&message, None, now, Vec::new());
    }
}

fn wipe_topic(name: &IdentityName) -> String {
    format!("devices/{name}/remediation/wipe")
}
