//! Who takes turns with whom, so that nobody waits for a crowd: handshakes by the source they come from, and sessions that
//! have more to do than one step by whose they are. A storm of either holds up neither a session with little to do nor
//! anybody else's handshake or session.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::IpAddr,
    rc::Rc,
};

use portreeve_types::IdentityId;
use tokio::{
    sync::oneshot,
    task::{spawn_local, yield_now},
};

/// Steps of handshakes, each of a third of a millisecond or less, between two looks at everything else that a worker has
/// to do. A handshake has two steps; a worker with nothing else to do notices no difference.
const HANDSHAKES_A_ROUND: usize = 8;
/// Steps of busy sessions, each of up to a few milliseconds.
const SESSIONS_A_ROUND: usize = 4;

thread_local! {
    static HANDSHAKES: Rc<Turns<IpAddr>> = Turns::new(HANDSHAKES_A_ROUND);
    static SESSIONS: Rc<Turns<IdentityId>> = Turns::new(SESSIONS_A_ROUND);
}

/// Resolves when it is one's turn.
pub(crate) type Called = oneshot::Receiver<()>;

/// One worker's turns of one kind. In each round, which ends when the worker's queue has come round, so many steps are
/// taken. Who comes later waits outside the queue; those who wait are grouped by `K`, and the groups come in turn, each with
/// the one that waits longest. Those who wait are connections, which the configuration bounds.
struct Turns<K> {
    steps_a_round: usize,
    /// Steps of this round that nobody has taken.
    left: Cell<usize>,
    is_running: Cell<bool>,
    waiting: RefCell<Waiting<K>>,
}

struct Waiting<K> {
    /// Each group in which somebody waits, once.
    order: VecDeque<K>,
    of: HashMap<K, VecDeque<oneshot::Sender<()>>>,
}

impl<K: Copy + Eq + Hash> Waiting<K> {
    fn push(&mut self, group: K) -> Called {
        let (call, called) = oneshot::channel();
        let queue = self.of.entry(group).or_default();
        if queue.is_empty() {
            self.order.push_back(group);
        }
        queue.push_back(call);
        called
    }

    fn pop(&mut self) -> Option<oneshot::Sender<()>> {
        let group = self.order.pop_front()?;
        let queue = self.of.get_mut(&group)?;
        let call = queue.pop_front();
        if queue.is_empty() {
            self.of.remove(&group);
        } else {
            self.order.push_back(group);
        }
        call
    }
}

/// Waits until this worker may take another step of a handshake with somebody at `source`.
pub(crate) async fn handshake_turn(source: IpAddr) {
    if let Some(called) = HANDSHAKES.with(|turns| turns.ask(source)) {
        // The caller lasts as long as anybody waits.
        let _ = called.await;
    }
}

/// Asks for another step of a session of `identity`, which has more to do. `None`: as soon as all others have been polled.
pub(crate) fn session_turn(identity: IdentityId) -> Option<Called> {
    SESSIONS.with(|turns| turns.ask(identity))
}

impl<K: Copy + Eq + Hash + 'static> Turns<K> {
    fn new(steps_a_round: usize) -> Rc<Self> {
        let waiting = RefCell::new(Waiting { order: VecDeque::new(), of: HashMap::new() });
        Rc::new(Self { steps_a_round, left: Cell::new(0), is_running: Cell::new(false), waiting })
    }

    /// Takes one of this round's steps for somebody of `group`, or tells when.
    fn ask(self: &Rc<Self>, group: K) -> Option<Called> {
        if !self.is_running.replace(true) {
            self.left.set(self.steps_a_round);
            spawn_local(rounds(Running(Rc::clone(self))));
        }
        match self.left.get() {
            0 => Some(self.waiting.borrow_mut().push(group)),
            left => {
                self.left.set(left - 1);
                None
            }
        }
    }
}

/// Rounds are running; also when the worker ends, the next one finds that they are not.
struct Running<K>(Rc<Turns<K>>);

impl<K> Drop for Running<K> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
    }
}

/// Begins a round whenever everybody else on this worker had their turn, until one is not used.
async fn rounds<K: Copy + Eq + Hash>(running: Running<K>) {
    let turns = &running.0;
    loop {
        // To the end of the queue, behind every session that has something to do now.
        yield_now().await;
        if turns.left.get() == turns.steps_a_round {
            return;
        }
        let mut left = turns.steps_a_round;
        while left > 0
            && let Some(call) = turns.waiting.borrow_mut().pop()
        {
            // Whoever gave up meanwhile needs no step.
            left -= usize::from(call.send(()).is_ok());
        }
        turns.left.set(left);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        runtime::Builder,
        task::{JoinHandle, LocalSet},
    };

    use super::*;

    const STEPS: usize = 8;
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn run(test: impl Future<Output = ()>) {
        LocalSet::new().block_on(&Builder::new_current_thread().build().unwrap(), test);
    }

    fn source(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    type Log = Rc<RefCell<Vec<IpAddr>>>;

    fn newcomer(turns: &Rc<Turns<IpAddr>>, log: &Log, source: IpAddr) -> JoinHandle<()> {
        let (turns, log) = (Rc::clone(turns), Rc::clone(log));
        spawn_local(async move {
            if let Some(called) = turns.ask(source) {
                called.await.unwrap();
            }
            log.borrow_mut().push(source);
        })
    }

    /// A session that is always ready is looked at after every few steps, however many newcomers there are.
    #[test]
    fn a_storm_of_handshakes_lets_a_session_through() {
        run(async {
            let (turns, log) = (Turns::new(STEPS), Log::default());
            let newcomers: Vec<_> = (0..200).map(|_| newcomer(&turns, &log, source(1))).collect();
            let session = spawn_local({
                let log = Rc::clone(&log);
                async move {
                    for _ in 0..100 {
                        log.borrow_mut().push(HERE);
                        yield_now().await;
                    }
                }
            });
            for newcomer in newcomers {
                newcomer.await.unwrap();
            }
            session.await.unwrap();
            let log = log.borrow();
            let longest = log.split(|entry| *entry == HERE).map(<[_]>::len).max().unwrap();
            assert!(longest <= 2 * STEPS, "{longest} steps in a row");
            assert_eq!(log.iter().filter(|entry| **entry != HERE).count(), 200);
        });
    }

    /// One more source waits for one step of each of the others, not for all that they have begun.
    #[test]
    fn sources_take_turns() {
        run(async {
            let (turns, log) = (Turns::new(STEPS), Log::default());
            let storm: Vec<_> = (0..200).map(|index| newcomer(&turns, &log, source(1 + index % 4))).collect();
            yield_now().await;
            newcomer(&turns, &log, HERE).await.unwrap();
            let before = log.borrow().iter().position(|entry| *entry == HERE).unwrap();
            assert!(before <= 3 * STEPS, "{before} steps of others before its own");
            for newcomer in storm {
                newcomer.await.unwrap();
            }
            assert_eq!(log.borrow().len(), 201);
        });
    }

    /// Whoever gives up, also the one whose turn is next, holds up nobody.
    #[test]
    fn those_who_give_up_hold_up_nobody() {
        run(async {
            let (turns, log) = (Turns::new(STEPS), Log::default());
            let newcomers: Vec<_> = (0..100).map(|index| newcomer(&turns, &log, source(index % 3))).collect();
            yield_now().await;
            for (index, newcomer) in newcomers.iter().enumerate() {
                if index % 10 != 9 {
                    newcomer.abort();
                }
            }
            for newcomer in newcomers {
                // An error is one that was aborted.
                let _ = newcomer.await;
            }
            assert!(log.borrow().len() >= 10);
            assert!(turns.waiting.borrow().of.is_empty() && turns.waiting.borrow().order.is_empty());
            // And when all is over, nothing runs.
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(!turns.is_running.get());
        });
    }
}
