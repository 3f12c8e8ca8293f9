//! Provisioning sessions of who is in the registry. They know nothing of the broker, and end with the connections of their
//! identity when that is cut off.

use std::{
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use portreeve_events::Kind as EventKind;
use portreeve_mqtt::Reason;
use portreeve_types::{IdentityId, IdentityName, LifecycleState};

use crate::{Close, Hub};

/// The guests that are here, by whose they are.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<HashMap<IdentityId, Vec<Arc<Mailbox>>>>);

/// How a guest is told to go.
#[derive(Debug, Default)]
struct Mailbox(Mutex<(Option<Close>, Option<Waker>)>);

impl Guests {
    /// Asks all of an identity to go; the first reason stands. Returns how many there are.
    pub(crate) fn close(&self, identity: IdentityId, close: Close) -> usize {
        let guests = self.0.lock().get(&identity).cloned().unwrap_or_default();
        for guest in &guests {
            let waker = {
                let (told, waker) = &mut *guest.0.lock();
                told.get_or_insert(close);
                waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
        guests.len()
    }
}

/// A provisioning session's place among its identity's connections. It is left when this is dropped.
#[derive(Debug)]
pub struct Guest {
    hub: Arc<Hub>,
    identity: IdentityId,
    mailbox: Arc<Mailbox>,
}

impl Guest {
    /// Ready when the session has to end, and for what reason.
    pub fn poll_close(&self, context: &mut Context<'_>) -> Poll<Close> {
        let (told, waker) = &mut *self.mailbox.0.lock();
        if let Some(close) = *told {
            return Poll::Ready(close);
        }
        *waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The session, from that source, was told and is over.
    pub fn gone(&self, close: &Close, source: IpAddr) {
        let name = self.hub.name_of(self.identity);
        let name = name.as_ref().map(IdentityName::as_str);
        self.hub.emit(EventKind::SessionCut, name, None, Some(source), format_args!("provisioning: {}", close.why));
        if let Some(asked) = close.asked {
            self.hub.cuts.observe(asked.elapsed());
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.hub.guests.0.lock();
        let Some(of_identity) = guests.get_mut(&self.identity) else { return };
        of_identity.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
        if of_identity.is_empty() {
            guests.remove(&self.identity);
        }
    }
}

impl Hub {
    /// Has a session end when its identity is cut off; at once, if it was by now.
    #[must_use]
    pub fn receive_guest(self: &Arc<Self>, identity: IdentityId) -> Guest {
        let mailbox = Arc::new(Mailbox::default());
        self.guests.0.lock().entry(identity).or_default().push(Arc::clone(&mailbox));
        // Whoever cuts off writes the registry first: either it finds this guest, or this finds it.
        if !self.registry.state_of(identity).is_some_and(LifecycleState::may_connect) {
            let close = Close::new(Reason::ADMINISTRATIVE_ACTION, "the identity is no longer active");
            mailbox.0.lock().0.get_or_insert(close);
        }
        Guest { hub: Arc::clone(self), identity, mailbox }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_config::{Config, Role};
    use portreeve_types::Kind;

    use super::*;
    use crate::{Actor, AdminRequest};

    fn reason(guest: &Guest) -> Option<Reason> {
        match guest.poll_close(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(close) => Some(close.reason),
            Poll::Pending => None,
        }
    }

    /// Whether it came before the cut or after, it goes; and nothing is kept of one that has gone.
    #[test]
    fn a_guest_goes_with_its_identity() {
        let data = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now().into();
        let hub = Hub::open(&data.path().join("hub"), Config::default(), now).unwrap();
        let ask = |request| hub.administer(&Actor { name: "test".into(), role: Role::Administrator }, request);
        let id = |name: &str| {
            let (name, kind) = (name.parse().unwrap(), Kind::Device);
            let add = AdminRequest::DeviceAdd { name, kind, fields: Default::default(), bundle: true, days: None };
            let row = ask(add).unwrap().result;
            IdentityId(row["id"].as_str().unwrap().parse().unwrap())
        };
        let (lamp, other) = (id("lamp"), id("other"));
        let guests = [lamp, lamp, other].map(|id| hub.receive_guest(id));
        let state = LifecycleState::Disabled;
        let disable = AdminRequest::DeviceState {
            name: "lamp".parse().unwrap(),
            to: state,
            reason: String::new(),
            dry_run: false,
        };
        assert_eq!(ask(disable).unwrap().result["connections_closed"], 2);
        let cut = Some(Reason::ADMINISTRATIVE_ACTION);
        assert_eq!(guests.each_ref().map(reason), [cut, cut, None]);
        let late = hub.receive_guest(lamp);
        assert_eq!(reason(&late), cut);
        drop((guests, late));
        assert!(hub.guests.0.lock().is_empty());
    }
}
