//! The subscription trie: which subscriptions match a topic, in time that does not grow with their number.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use portreeve_store::SessionId;

use super::subscription::Subscription;

/// One level of topic filters.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    plus: Option<Box<Node>>,
    /// Subscriptions whose filter ends here.
    here: Leaf,
    /// Subscriptions whose filter ends here with `#`.
    below: Leaf,
}

#[derive(Debug, Default)]
struct Leaf {
    single: HashMap<SessionId, Arc<Subscription>>,
    shared: Vec<Arc<ShareGroup>>,
}

/// The members of one `$share/NAME/FILTER`; each message goes to one of them (§4.8.2).
#[derive(Debug)]
pub(crate) struct ShareGroup {
    name: Box<str>,
    /// Copied when it changes while a message goes round, and only then.
    members: Mutex<Arc<Members>>,
    next: AtomicUsize,
}

/// Those whose client is there stand in front, so that a message finds one without a look at the others.
#[derive(Clone, Debug, Default)]
struct Members {
    list: Vec<Arc<Subscription>>,
    place: HashMap<SessionId, usize>,
    /// How many are there.
    online: usize,
}

impl Members {
    fn put(&mut self, subscription: &Arc<Subscription>, online: bool) {
        let session = subscription.session.id;
        match self.place.get(&session) {
            Some(&at) => self.list[at] = Arc::clone(subscription),
            None => {
                self.place.insert(session, self.list.len());
                self.list.push(Arc::clone(subscription));
            }
        }
        self.mark(session, online);
    }

    fn mark(&mut self, session: SessionId, online: bool) {
        let Some(&at) = self.place.get(&session) else { return };
        if online == (at < self.online) {
            return;
        }
        // The border moves over it.
        let border = if online { self.online } else { self.online - 1 };
        self.swap(at, border);
        self.online = if online { border + 1 } else { border };
    }

    fn remove(&mut self, session: SessionId) {
        self.mark(session, false);
        let Some(&at) = self.place.get(&session) else { return };
        self.swap(at, self.list.len() - 1);
        self.list.pop();
        self.place.remove(&session);
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.list.swap(one, other);
        for at in [one, other] {
            self.place.insert(self.list[at].session.id, at);
        }
    }
}

impl ShareGroup {
    /// The members in the order in which this message is to be offered to them: round robin.
    pub(crate) fn rota(&self) -> Rota {
        Rota { members: Arc::clone(&self.members.lock()), start: self.next.fetch_add(1, Relaxed) }
    }

    fn change(&self, change: impl FnOnce(&mut Members)) {
        change(Arc::make_mut(&mut self.members.lock()));
    }
}

/// The members of a group as they were, from one of them on.
pub(crate) struct Rota {
    members: Arc<Members>,
    start: usize,
}

impl Rota {
    /// Those whose client is there.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.turned(0..self.members.online)
    }

    /// All, those first who were away.
    pub(crate) fn away_first(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let online = self.members.online;
        self.turned(online..self.members.list.len()).chain(self.turned(0..online))
    }

    fn turned(&self, part: Range<usize>) -> impl Iterator<Item = &Arc<Subscription>> {
        let part = &self.members.list[part];
        let (first, last) = part.split_at(self.start % part.len().max(1));
        last.iter().chain(first)
    }
}

/// What matches a topic.
pub(crate) enum Match<'a> {
    Single(&'a Arc<Subscription>),
    Shared(&'a Arc<ShareGroup>),
}

/// All subscriptions of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    root: Node,
}

impl Trie {
    /// Adds a subscription, in place of the session's earlier one with the same filter. `online`: its client is there.
    pub(crate) fn insert(&mut self, subscription: &Arc<Subscription>, online: bool) {
        let mut node = &mut self.root;
        for level in subscription.filter.plain().split('/') {
            node = match level {
                "#" => {
                    node.below.insert(subscription, online);
                    return;
                }
                "+" => node.plus.get_or_insert_default(),
                // `entry_ref` allocates the key only for a new level.
                _ => node.children.entry_ref(level).or_default(),
            };
        }
        node.here.insert(subscription, online);
    }

    /// The client of a member of a share group came or went.
    pub(crate) fn mark(&self, subscription: &Subscription, online: bool) {
        let Some(leaf) = self.leaf(subscription.filter.plain()) else { return };
        if let Some(group) = leaf.shared.iter().find(|group| Some(&*group.name) == subscription.filter.share_group()) {
            group.change(|members| members.mark(subscription.session.id, online));
        }
    }

    fn leaf(&self, filter: &str) -> Option<&Leaf> {
        let mut node = &self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => return Some(&node.below),
                "+" => node.plus.as_deref()?,
                _ => node.children.get(level)?,
            };
        }
        Some(&node.here)
    }

    /// Removes a session's subscription and the levels that nobody needs any more.
    pub(crate) fn remove(&mut self, subscription: &Subscription) {
        self.root.remove(subscription.filter.plain(), subscription);
    }

    /// Calls `found` for everything that matches `topic`, MQTT 5.0 §4.7.
    pub(crate) fn matches<'a>(&'a self, topic: &str, found: &mut dyn FnMut(Match<'a>)) {
        self.root.matches(Some(topic), topic.starts_with('$'), found);
    }
}

impl Node {
    /// Nobody needs this level.
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.below.is_empty()
    }

    fn remove(&mut self, filter: &str, subscription: &Subscription) {
        let (level, rest) = filter.split_once('/').map_or((filter, None), |(level, rest)| (level, Some(rest)));
        if level == "#" {
            return self.below.remove(subscription);
        }
        let child = if level == "+" { self.plus.as_deref_mut() } else { self.children.get_mut(level) };
        let Some(child) = child else { return };
        match rest {
            Some(rest) => child.remove(rest, subscription),
            None => child.here.remove(subscription),
        }
        if !child.is_empty() {
            return;
        }
        if level == "+" {
            self.plus = None;
        } else {
            self.children.remove(level);
        }
    }

    /// Recursion is bounded by the limit on topic levels.
    fn matches<'a>(&'a self, topic: Option<&str>, dollar: bool, found: &mut dyn FnMut(Match<'a>)) {
        if !dollar {
            self.below.each(found); // `a/#` matches `a` too.
        }
        let Some(topic) = topic else { return self.here.each(found) };
        let (level, rest) = topic.split_once('/').map_or((topic, None), |(level, rest)| (level, Some(rest)));
        if let Some(child) = self.children.get(level) {
            child.matches(rest, false, found);
        }
        if let Some(child) = self.plus.as_deref().filter(|_| !dollar) {
            child.matches(rest, false, found);
        }
    }
}

impl Leaf {
    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.shared.is_empty()
    }

    fn each<'a>(&'a self, found: &mut dyn FnMut(Match<'a>)) {
        self.single.values().for_each(|subscription| found(Match::Single(subscription)));
        self.shared.iter().for_each(|group| found(Match::Shared(group)));
    }

    fn insert(&mut self, subscription: &Arc<Subscription>, online: bool) {
        let Some(name) = subscription.filter.share_group() else {
            self.single.insert(subscription.session.id, Arc::clone(subscription));
            return;
        };
        let group = match self.shared.iter().find(|group| &*group.name == name) {
            Some(group) => group,
            None => {
                self.shared.push(Arc::new(ShareGroup {
                    name: name.into(),
                    members: Mutex::default(),
                    next: AtomicUsize::new(0),
                }));
                &self.shared[self.shared.len() - 1]
            }
        };
        group.change(|members| members.put(subscription, online));
    }

    fn remove(&mut self, subscription: &Subscription) {
        let Some(name) = subscription.filter.share_group() else {
            self.single.remove(&subscription.session.id);
            return;
        };
        self.shared.retain(|group| {
            if &*group.name != name {
                return true;
            }
            group.change(|members| members.remove(subscription.session.id));
            !group.members.lock().list.is_empty()
        });
    }
}
