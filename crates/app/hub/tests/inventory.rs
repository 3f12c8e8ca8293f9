//! Imports and live sessions.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{Bench, Got, connect};
use portreeve_hub::{AdminRequest, inventory::ListFile};
use portreeve_mqtt::Reason;
use portreeve_types::Qos;

fn import(text: &str, dry_run: bool) -> AdminRequest {
    let file = ListFile { name: "list.csv".into(), text: text.into() };
    AdminRequest::DeviceImport { file, update: true, dry_run }
}

/// ISVS-4.2.2: what an import says of an identity counts at once, for its live sessions as well.
#[test]
fn a_live_session_obeys_what_was_imported() {
    let bench = Bench::new();
    bench.policy(
        r#"forbid (principal, action == Action::"subscribe", resource) when { principal.location == "outside" };"#,
    );
    let (lamp, other) = (bench.device("lamp"), bench.device("other"));
    let (mut lamp, mut other) = (bench.connect(&lamp, connect("lamp")), bench.connect(&other, connect("other")));
    lamp.subscribed(&bench, "devices/lamp/commands/#", Qos::AtLeastOnce);
    other.subscribed(&bench, "devices/other/commands/#", Qos::AtLeastOnce);
    bench.administer(import("name,location\nlamp,outside\nother,\n", true)).unwrap();
    assert_eq!(lamp.recv(&bench), [], "a dry run changes nothing");
    bench.administer(import("name,location\nlamp,outside\nother,\nnew,\n", false)).unwrap();
    assert_eq!(lamp.recv(&bench), [Got::Disconnect(Reason::NOT_AUTHORIZED)]);
    assert_eq!(other.recv(&bench), []);
    assert!(lamp.is_over() && !other.is_over());
}
