//! A look at a hub's own data.

use std::sync::Arc;

use portreeve_assurance::{
    Endpoint, HubPart, Look, Scheme,
    evidence::{
        Seen,
        hub::{HubSubject, QuarantineSeen},
    },
};
use portreeve_probe::{Dialer, mqtt};

use super::HubLink;
use crate::audit::{
    material::server_name,
    visit::{Gathered, Visitor},
};

impl Visitor<'_> {
    pub(in crate::audit) async fn hub(
        &self,
        part: &HubPart,
        look: Look,
        gathered: &mut Gathered,
    ) -> Result<(), String> {
        let hub = self.hub.ok_or("there is no way to the hub")?;
        gathered.declared(&part.expect)?;
        match look {
            Look::Hub(subject) => self.hub_subject(hub, part, subject, gathered).await,
            Look::Quarantine => self.quarantine(hub, part, gathered).await,
            _ => Err("this is nothing that a hub is asked".into()),
        }
    }

    async fn hub_subject(
        &self,
        hub: &Arc<HubLink>,
        part: &HubPart,
        subject: HubSubject,
        gathered: &mut Gathered,
    ) -> Result<(), String> {
        if subject == HubSubject::Canary && part.self_test {
            hub.self_test().await?;
        }
        gathered.told(&hub.facts(subject).await?)?;
        match subject {
            HubSubject::Policy => hub.within_ceiling().await?.iter().try_for_each(|proof| gathered.seen(proof)),
            HubSubject::Ledger => hub.ledger().await?.iter().try_for_each(|proof| gathered.seen(proof)),
            _ => Ok(()),
        }
    }

    /// The test device is connected meanwhile, if the scope lets the audit come as it.
    async fn quarantine(&self, hub: &Arc<HubLink>, part: &HubPart, gathered: &mut Gathered) -> Result<(), String> {
        let device = part.test_device.as_deref().ok_or("the scope names no test device")?;
        let is_door = |endpoint: &&Endpoint| {
            let is_its = endpoint.identities.iter().any(|name| name == device);
            endpoint.of_hub && endpoint.url.scheme == Scheme::Mqtts && is_its
        };
        let Some(door) = self.scope.endpoints.iter().find(is_door) else {
            return gathered.told(&hub.rehearse(device).await?);
        };
        let address = self.reach(door.url.host.as_str(), door.url.port, false, gathered).await?;
        let dialer = Dialer::new(address, self.limits());
        let broker = mqtt::Broker { dialer: &dialer, tls: server_name(door) };
        let clients = self.material.clients(door);
        let own = clients.iter().find(|client| client.name == device).ok_or("its test identity is not a valid one")?;
        let held = mqtt::hold(&broker, own).await.map_err(|gap| format!("{device} cannot connect: {gap}"))?;
        gathered.told(&hub.rehearse(device).await?)?;
        let connection: Seen<_> = held.look().await;
        gathered.seen(&QuarantineSeen { connection })
    }
}
