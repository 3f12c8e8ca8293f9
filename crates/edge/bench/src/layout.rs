//! Who does what: the clients of each scenario.

use crate::{Plan, Scenario, session::Role};

/// One client to be.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// `{n}`.
    pub(crate) number: u32,
    /// `{pair}`.
    pub(crate) pair: u32,
    pub(crate) role: Role,
}

/// All clients, and how publishers and receivers relate.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) seats: Vec<Seat>,
    pub(crate) publishers: u32,
    /// Deliveries of each message.
    pub(crate) receivers_each: u32,
}

impl Layout {
    /// Clients are numbered so that the fixed receivers of [`crate::floor`] are found by number.
    pub(crate) fn new(plan: &Plan) -> Self {
        let publish = |number, pair| Seat { number, pair, role: publisher(plan, number, pair) };
        let receive = |number, pair, filter, publishers| {
            let role = Role { publish: None, subscribe: Some((filter, publishers)) };
            Seat { number, pair, role }
        };
        let filter = |number, pair| plan.filter.as_ref().unwrap_or(&plan.topic).fill(number, pair);
        let plain = |number| Seat { number, pair: number, role: Role::default() };
        let (mut seats, publishers, mut receivers_each): (Vec<_>, _, _) = match plan.scenario {
            Scenario::Connect | Scenario::Idle => ((0..plan.count).map(plain).collect(), 0, 0),
            Scenario::Publish => {
                let pair = |pair| {
                    let number = pair * 2;
                    [publish(number, pair), receive(number + 1, pair, filter(number, pair), pair..pair + 1)]
                };
                ((0..plan.count).flat_map(pair).collect(), plan.count, 1)
            }
            Scenario::Fanout => {
                let receiver = |number| receive(number, 0, filter(0, 0), 0..1);
                (std::iter::once(publish(0, 0)).chain((1..=plan.count).map(receiver)).collect(), 1, plan.count)
            }
            Scenario::Fanin => {
                let filter = plan.filter.as_ref().map_or_else(|| plan.topic.filter(), |filter| filter.fill(0, 0));
                let receiver = receive(0, 0, filter, 0..plan.count);
                let publisher = |number| publish(number, number - 1);
                (std::iter::once(receiver).chain((1..=plan.count).map(publisher)).collect(), plan.count, 1)
            }
        };
        if plan.publish_only {
            seats.retain(|seat| seat.role.publish.is_some());
            // An acknowledgement stands for the delivery.
            receivers_each = 1;
        }
        Self { seats, publishers, receivers_each }
    }

    /// The thread of a client: a pair stays together.
    pub(crate) fn thread(&self, plan: &Plan, seat: &Seat) -> usize {
        let key = if plan.scenario == Scenario::Publish { seat.pair } else { seat.number };
        (key % plan.threads) as usize
    }
}

fn publisher(plan: &Plan, number: u32, pair: u32) -> Role {
    Role { publish: Some((pair, plan.topic.fill(number, pair))), subscribe: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Files, Pattern};

    fn layout(scenario: Scenario, count: u32) -> (Plan, Layout) {
        let file = |name| Pattern::new(name).unwrap();
        let mut plan = Plan::new(scenario, "127.0.0.1:1", Files { ca: file("a"), cert: file("b"), key: file("c") });
        (plan.count, plan.threads) = (count, 2);
        let layout = Layout::new(&plan);
        (plan, layout)
    }

    #[expect(clippy::type_complexity, reason = "one row of a test's table")]
    fn roles(layout: &Layout) -> Vec<(u32, Option<(u32, String)>, Option<(String, std::ops::Range<u32>)>)> {
        layout.seats.iter().map(|seat| (seat.number, seat.role.publish.clone(), seat.role.subscribe.clone())).collect()
    }

    #[test]
    fn pairs() {
        let (plan, layout) = layout(Scenario::Publish, 2);
        let expected = [
            (0, Some((0, "bench/0".into())), None),
            (1, None, Some(("bench/0".into(), 0..1))),
            (2, Some((1, "bench/1".into())), None),
            (3, None, Some(("bench/1".into(), 1..2))),
        ];
        assert_eq!(roles(&layout), expected);
        let threads: Vec<_> = layout.seats.iter().map(|seat| layout.thread(&plan, seat)).collect();
        assert_eq!(threads, [0, 0, 1, 1]);
    }

    #[test]
    fn filters_of_their_own_and_nobody_to_receive() {
        let (mut plan, _) = layout(Scenario::Publish, 2);
        plan.filter = Some(Pattern::new("$share/g/bench/{pair}").unwrap());
        let filters: Vec<_> = Layout::new(&plan).seats.into_iter().filter_map(|seat| seat.role.subscribe).collect();
        assert_eq!(filters, [("$share/g/bench/0".into(), 0..1), ("$share/g/bench/1".into(), 1..2)]);
        plan.publish_only = true;
        let layout = Layout::new(&plan);
        assert_eq!((layout.publishers, layout.receivers_each), (2, 1));
        assert_eq!(layout.seats.iter().map(|seat| seat.number).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn one_to_many_and_many_to_one() {
        let (_, fan_out) = layout(Scenario::Fanout, 2);
        let receiver = |number| (number, None, Some(("bench/0".to_owned(), 0..1)));
        assert_eq!(roles(&fan_out), [(0, Some((0, "bench/0".into())), None), receiver(1), receiver(2)]);
        assert_eq!((fan_out.publishers, fan_out.receivers_each), (1, 2));
        let (_, fan_in) = layout(Scenario::Fanin, 2);
        let publisher = |number: u32| (number, Some((number - 1, format!("bench/{}", number - 1))), None);
        assert_eq!(roles(&fan_in), [(0, None, Some(("bench/+".into(), 0..2))), publisher(1), publisher(2)]);
        assert_eq!((fan_in.publishers, fan_in.receivers_each), (2, 1));
    }
}
