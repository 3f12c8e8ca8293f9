//! Handshakes take turns with sessions, so that a storm of newcomers does not hold up those who are in.

use std::{cell::Cell, rc::Rc};

use tokio::{sync::Semaphore, task::yield_now};

/// Steps of handshakes, each of a third of a millisecond or less, between two looks at everything else that a worker has
/// to do. A handshake has two steps; a worker with nothing else to do notices no difference.
const STEPS_A_ROUND: usize = 8;

thread_local! {
    static TURNS: Rc<Turns> = Rc::default();
}

/// One worker's turns. In each round, which ends when the worker's queue has come round, so many steps are taken; whoever
/// comes later waits in order, outside the queue.
struct Turns {
    steps: Semaphore,
    is_round_ending: Cell<bool>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { steps: Semaphore::new(STEPS_A_ROUND), is_round_ending: Cell::new(false) }
    }
}

/// The first that comes too late ends the round: also when it is cancelled meanwhile.
struct RoundEnd<'a>(&'a Turns);

impl Drop for RoundEnd<'_> {
    fn drop(&mut self) {
        self.0.is_round_ending.set(false);
        self.0.steps.add_permits(STEPS_A_ROUND);
    }
}

/// Waits until this worker may take another step of a handshake.
pub(crate) async fn handshake_turn() {
    TURNS.with(Rc::clone).next().await;
}

impl Turns {
    async fn next(&self) {
        loop {
            if let Ok(step) = self.steps.try_acquire() {
                return step.forget();
            }
            if self.is_round_ending.replace(true) {
                // Closed by nobody.
                if let Ok(step) = self.steps.acquire().await {
                    step.forget();
                }
                return;
            }
            let _end = RoundEnd(self);
            // To the end of the queue, behind every session that has something to do now.
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, pin::pin, task::Poll};

    use tokio::{
        runtime::Builder,
        task::{LocalSet, spawn_local},
    };

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        LocalSet::new().block_on(&Builder::new_current_thread().build().unwrap(), test);
    }

    /// A session that is always ready is looked at after every few steps, however many newcomers there are.
    #[test]
    fn a_storm_of_handshakes_lets_a_session_through() {
        run(async {
            let turns = Rc::new(Turns::default());
            let log = Rc::new(RefCell::new(Vec::new()));
            let newcomers: Vec<_> = (0..200)
                .map(|_| {
                    let (turns, log) = (Rc::clone(&turns), Rc::clone(&log));
                    spawn_local(async move {
                        turns.next().await;
                        log.borrow_mut().push("step");
                    })
                })
                .collect();
            let session = spawn_local({
                let log = Rc::clone(&log);
                async move {
                    for _ in 0..100 {
                        log.borrow_mut().push("session");
                        yield_now().await;
                    }
                }
            });
            for newcomer in newcomers {
                newcomer.await.unwrap();
            }
            session.await.unwrap();
            let log = log.borrow();
            let longest = log.split(|entry| *entry == "session").map(<[_]>::len).max().unwrap();
            assert!(longest <= 2 * STEPS_A_ROUND, "{longest} steps in a row");
            assert_eq!(log.iter().filter(|entry| **entry == "step").count(), 200);
        });
    }

    /// The one that ends the round may be cut off before it does: the others do not wait for ever.
    #[test]
    fn a_cancelled_newcomer_ends_its_round() {
        run(async {
            let turns = Turns::default();
            for _ in 0..STEPS_A_ROUND {
                turns.next().await;
            }
            {
                let mut late = pin!(turns.next());
                let polled = std::future::poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx).is_ready())).await;
                assert!(!polled);
            }
            turns.next().await;
        });
    }
}
