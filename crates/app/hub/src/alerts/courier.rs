//! A channel's thread.

use std::{
    sync::mpsc::{Receiver, Sender, SyncSender, sync_channel},
    thread::JoinHandle,
    time::{Instant, SystemTime},
};

use portreeve_alert::{Channel, Delivery, DeliveryId, Failure, Line};
use portreeve_channels::SEND_WITHIN;

use super::Report;

/// Deliveries in a courier's hands: the desk gives out the next when this one is reported.
const IN_HAND_MAX: usize = 1;

/// Sends through one channel, one delivery at a time.
#[derive(Debug)]
pub(super) struct Courier {
    channel: Channel,
    jobs: SyncSender<Delivery>,
    thread: JoinHandle<()>,
    in_hand: Option<DeliveryId>,
}

impl Courier {
    pub(super) fn start(channel: Channel, hub: String, reports: Sender<Report>) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(IN_HAND_MAX);
        let settings = channel.clone();
        let thread = std::thread::Builder::new().name("courier".into()).spawn(move || {
            carry(&settings, &hub, &waiting, &reports);
        })?;
        Ok(Self { channel, jobs, thread, in_hand: None })
    }

    /// Whether it goes where these settings say, and lives.
    pub(super) fn serves(&self, channel: &Channel) -> bool {
        self.channel == *channel && !self.thread.is_finished()
    }

    pub(super) fn hand_over(&mut self, delivery: Delivery, reports: &Sender<Report>) {
        let id = delivery.id;
        match self.jobs.try_send(delivery) {
            Ok(()) => self.in_hand = Some(id),
            Err(_) => _ = reports.send((id, Err(transient("its thread is busy")))),
        }
    }

    /// That this one was reported.
    pub(super) fn done(&mut self, id: DeliveryId) {
        self.in_hand = self.in_hand.filter(|in_hand| *in_hand != id);
    }

    /// What it had in hand when its thread ended, which it should not.
    pub(super) fn lost(&mut self) -> Option<Report> {
        let id = self.in_hand.filter(|_| self.thread.is_finished())?;
        Some((id, Err(transient("its thread ended"))))
    }
}

/// Ends with the settings that it was started for.
fn carry(channel: &Channel, hub: &str, waiting: &Receiver<Delivery>, reports: &Sender<Report>) {
    let mut way = None;
    while let Ok(delivery) = waiting.recv() {
        let sent = send(channel, hub, &mut way, &delivery);
        if sent.is_err() {
            // Secrets and certificates may be others by the next attempt.
            way = None;
        }
        if reports.send((delivery.id, sent)).is_err() {
            return;
        }
    }
}

fn send(
    channel: &Channel,
    hub: &str,
    way: &mut Option<Box<dyn portreeve_channels::Channel>>,
    delivery: &Delivery,
) -> Result<(), Failure> {
    if way.is_none() {
        *way = portreeve_channels::open(&channel.kind, hub).map_err(|error| transient(&error.to_string()))?;
    }
    let way = way.as_ref().ok_or_else(|| transient("there is no way"))?;
    way.send(delivery, SystemTime::now().into(), Instant::now() + SEND_WITHIN).map(drop)
}

fn transient(why: &str) -> Failure {
    Failure::Transient(Line::new(why))
}
