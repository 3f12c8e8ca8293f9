use std::sync::Arc;

use arc_swap::ArcSwap;
use portreeve_mqtt::SubscriptionOptions;
use portreeve_policy::Permit;
use portreeve_store::SubscriptionRow;
use portreeve_types::{Qos, TopicFilter};

use super::session::Session;

/// What policy said of a subscription, and when.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    /// The access generation in which it was decided; 0 before.
    pub(crate) generation: u64,
    /// `None` where it is not granted now, but may be again: the identity is not active, or its client is elsewhere.
    /// Then each message is asked about.
    pub(crate) permit: Option<Permit>,
    /// Whether the answer is the same for the whole generation.
    pub(crate) lasts: bool,
}

/// One subscription of one session. It is made with a [`Permit`] and kept only as long as policy grants one.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) session: Arc<Session>,
    pub(crate) filter: TopicFilter,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: Option<u32>,
    pub(crate) grant: ArcSwap<Grant>,
}

impl Grant {
    /// Whether it is what policy would say in `generation`, at whatever time.
    pub(crate) fn holds_in(&self, generation: u64) -> bool {
        self.generation == generation && self.lasts && self.permit.is_some()
    }
}

impl Subscription {
    /// Whether its permit, decided in `generation`, proves that `topic` may be delivered.
    pub(crate) fn proves(&self, generation: u64, topic: &str) -> bool {
        let grant = self.grant.load();
        let covers = |permit: &Permit| permit.covers_delivery_of(topic);
        grant.generation == generation && grant.permit.as_ref().is_some_and(covers)
    }

    pub(crate) fn row(&self) -> SubscriptionRow {
        SubscriptionRow { filter: self.filter.clone(), options: self.options.to_byte(), subscription_id: self.id }
    }

    pub(crate) fn qos(&self, published: Qos) -> Qos {
        self.options.qos.min(published)
    }
}
