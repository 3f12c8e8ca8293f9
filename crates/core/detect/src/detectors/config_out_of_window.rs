//! Changes outside the hours that are set aside for them.

use crate::{
    Detector, Observation,
    episode::Desk,
    finding::{Subject, shown},
    rehearsal::{Script, WHO},
    settings::{ChangeWindow, Day},
};
use portreeve_types::UnixMillis;

use super::api_misuse::Caller;

const KIND: Detector = Detector::ConfigOutOfWindow;

pub(crate) fn judge(caller: &mut Caller, desk: &mut Desk<'_>, what: &str, subject: impl FnOnce() -> Subject) {
    let windows = &desk.rules.settings.change_windows;
    if windows.is_empty() || windows.iter().any(|window| is_within(window, desk.now)) {
        return;
    }
    let text = || (format!("changed {} outside the hours for changes", shown(what)), Vec::new());
    desk.raise(&mut caller.episodes, KIND, subject, text);
}

fn is_within(window: &ChangeWindow, now: UnixMillis) -> bool {
    let hours = now.seconds() / 3600;
    // 1970-01-01 was a Thursday, the fourth day of its week.
    let day = Day::ALL[usize::try_from((hours / 24 + 3) % 7).unwrap_or_default()];
    window.days.contains(&day) && (u64::from(window.from_h)..u64::from(window.to_h)).contains(&(hours % 24))
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(Observation::ConfigChanged { actor: WHO, what: "canary" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectSettings;
    use crate::testing::{Bench, canary};

    const CHANGED: Observation<'static> = Observation::ConfigChanged { actor: "alice", what: "policy" };

    /// 2026-11-02, a Monday, at midnight.
    const MONDAY_MS: u64 = 1_793_577_600_000;
    const HOUR_MS: u64 = 3_600_000;

    fn office_hours() -> ChangeWindow {
        let days = [Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday].into();
        ChangeWindow { days, from_h: 8, to_h: 17 }
    }

    /// CSA-SCN-05
    #[test]
    fn a_change_at_night_is_one_finding_and_one_by_day_none() {
        let mut bench =
            Bench::of(&DetectSettings { change_windows: vec![office_hours()], ..DetectSettings::default() });
        bench.set(UnixMillis(MONDAY_MS + 12 * HOUR_MS));
        bench.see(&CHANGED);
        assert!(bench.opened().is_empty());
        bench.pass(8 * 3600);
        bench.see(&CHANGED);
        bench.see(&CHANGED);
        assert_eq!(bench.opened_of(KIND).len(), 1);
        let mut bench = Bench::frozen();
        bench.see(&CHANGED);
        assert!(bench.opened().is_empty(), "no hours are set aside");
    }

    #[test]
    fn hours_and_days() {
        let within = |hours: u64| is_within(&office_hours(), UnixMillis(MONDAY_MS + hours * HOUR_MS));
        assert!(within(8) && within(16) && !within(7) && !within(17));
        assert!(within(4 * 24 + 10) && !within(5 * 24 + 10) && !within(6 * 24 + 10) && within(7 * 24 + 10));
    }

    #[test]
    fn canary_config_out_of_window() {
        canary(KIND);
    }
}
