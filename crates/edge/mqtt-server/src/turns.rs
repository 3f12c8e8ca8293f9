//! Handshakes take turns with sessions, and sources with each other, so that a storm of newcomers holds up neither those
//! who are in nor a newcomer from elsewhere.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::IpAddr,
    rc::Rc,
};

use tokio::{
    sync::oneshot,
    task::{spawn_local, yield_now},
};

/// Steps of handshakes, each of a third of a millisecond or less, between two looks at everything else that a worker has
/// to do. A handshake has two steps; a worker with nothing else to do notices no difference.
const STEPS_A_ROUND: usize = 8;

thread_local! {
    static TURNS: Rc<Turns> = Rc::new(Turns::default());
}

/// One worker's turns. In each round, which ends when the worker's queue has come round, so many steps are taken. Who comes
/// later waits outside the queue; the sources of those who wait come in turn, each with its oldest connection. Those who
/// wait are connections whose handshake has begun, of which `limits.half_open_connections` bounds the number.
#[derive(Default)]
struct Turns {
    /// Steps of this round that nobody has taken.
    left: Cell<usize>,
    is_running: Cell<bool>,
    waiting: RefCell<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Each source that somebody waits from, once.
    order: VecDeque<IpAddr>,
    of: HashMap<IpAddr, VecDeque<oneshot::Sender<()>>>,
}

impl Waiting {
    fn push(&mut self, source: IpAddr) -> oneshot::Receiver<()> {
        let (call, called) = oneshot::channel();
        let queue = self.of.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue.push_back(call);
        called
    }

    fn pop(&mut self) -> Option<oneshot::Sender<()>> {
        let source = self.order.pop_front()?;
        let queue = self.of.get_mut(&source)?;
        let call = queue.pop_front();
        if queue.is_empty() {
            self.of.remove(&source);
        } else {
            self.order.push_back(source);
        }
        call
    }
}

/// Waits until this worker may take another step of a handshake with somebody at `source`.
pub(crate) async fn handshake_turn(source: IpAddr) {
    next(&TURNS.with(Rc::clone), source).await;
}

async fn next(turns: &Rc<Turns>, source: IpAddr) {
    if !turns.is_running.replace(true) {
        turns.left.set(STEPS_A_ROUND);
        spawn_local(rounds(Running(Rc::clone(turns))));
    }
    match turns.left.get() {
        0 => {
            let called = turns.waiting.borrow_mut().push(source);
            // The caller lasts as long as anybody waits.
            let _ = called.await;
        }
        left => turns.left.set(left - 1),
    }
}

/// Rounds are running; also when the worker ends, the next one finds that they are not.
struct Running(Rc<Turns>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.is_running.set(false);
    }
}

/// Begins a round whenever everybody else on this worker had their turn, until one is not used.
async fn rounds(running: Running) {
    let turns = &running.0;
    loop {
        // To the end of the queue, behind every session that has something to do now.
        yield_now().await;
        if turns.left.get() == STEPS_A_ROUND {
            return;
        }
        let mut left = STEPS_A_ROUND;
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

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn run(test: impl Future<Output = ()>) {
        LocalSet::new().block_on(&Builder::new_current_thread().build().unwrap(), test);
    }

    fn source(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    type Log = Rc<RefCell<Vec<IpAddr>>>;

    fn newcomer(turns: &Rc<Turns>, log: &Log, source: IpAddr) -> JoinHandle<()> {
        let (turns, log) = (Rc::clone(turns), Rc::clone(log));
        spawn_local(async move {
            next(&turns, source).await;
            log.borrow_mut().push(source);
        })
    }

    /// A session that is always ready is looked at after every few steps, however many newcomers there are.
    #[test]
    fn a_storm_of_handshakes_lets_a_session_through() {
        run(async {
            let (turns, log) = (Rc::new(Turns::default()), Log::default());
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
            assert!(longest <= 2 * STEPS_A_ROUND, "{longest} steps in a row");
            assert_eq!(log.iter().filter(|entry| **entry != HERE).count(), 200);
        });
    }

    /// One more source waits for one step of each of the others, not for all that they have begun.
    #[test]
    fn sources_take_turns() {
        run(async {
            let (turns, log) = (Rc::new(Turns::default()), Log::default());
            let storm: Vec<_> = (0..200).map(|index| newcomer(&turns, &log, source(1 + index % 4))).collect();
            yield_now().await;
            newcomer(&turns, &log, HERE).await.unwrap();
            let before = log.borrow().iter().position(|entry| *entry == HERE).unwrap();
            assert!(before <= 3 * STEPS_A_ROUND, "{before} steps of others before its own");
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
            let (turns, log) = (Rc::new(Turns::default()), Log::default());
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
