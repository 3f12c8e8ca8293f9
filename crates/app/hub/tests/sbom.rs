//! What firmware is made of, by operators' SBOMs and by devices' own word (CSA-ACT-01).

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Client, connect};
use portreeve_config::Role;
use portreeve_events::Kind as EventKind;
use portreeve_hub::{
    Actor, AdminError, AdminRequest, Fields,
    inventory::{Filter, Page},
    sbom::Release,
};
use portreeve_types::Qos;
use serde_json::{Value, json};

fn release(model: &str, firmware: &str) -> Release {
    Release { model: model.into(), firmware: firmware.into() }
}

fn document(components: &[(&str, &str)]) -> String {
    let component = |&(name, version): &(&str, &str)| {
        let purl = format!("pkg:generic/{name}@{version}");
        json!({ "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl })
    };
    let components: Vec<_> = components.iter().map(component).collect();
    json!({ "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components }).to_string()
}

fn add(firmware: &str, text: &str) -> AdminRequest {
    AdminRequest::SbomAdd { release: release("P30", firmware), text: text.into(), dry_run: false }
}

fn ask(bench: &Bench, role: Role, request: AdminRequest) -> Result<Value, AdminError> {
    let actor = Actor { name: role.as_str().into(), role };
    bench.hub.administer(&actor, request).map(|outcome| outcome.result)
}

fn operate(bench: &Bench, request: AdminRequest) -> Value {
    ask(bench, Role::Operator, request).unwrap()
}

fn show(bench: &Bench, firmware: &str) -> Result<Value, AdminError> {
    ask(bench, Role::Viewer, AdminRequest::SbomShow { release: release("P30", firmware) })
}

fn find(bench: &Bench, query: &str) -> (Vec<String>, Vec<String>) {
    let result = ask(bench, Role::Auditor, AdminRequest::SbomFind { query: query.into() }).unwrap();
    let texts = |rows: &Value, keys: [&str; 2]| {
        let text = |row: &Value| format!("{} {}", row[keys[0]].as_str().unwrap(), row[keys[1]]);
        rows.as_array().unwrap().iter().map(text).collect()
    };
    (texts(&result["firmware"], ["firmware", "devices"]), texts(&result["devices"], ["name", "reported"]))
}

fn listed(bench: &Bench, library: &str) -> Result<Vec<String>, AdminError> {
    let filter = Filter { library: Some(library.into()), ..Filter::default() };
    let page = Page { filter, ..Page::default() };
    let result = ask(bench, Role::Viewer, AdminRequest::DeviceList { page })?;
    Ok(result["identities"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect())
}

fn look(bench: &mut Bench) {
    bench.advance(Duration::from_secs(2));
    bench.hub.tick(bench.now);
}

fn report(bench: &mut Bench, client: &mut Client, name: &str, said: &Value) {
    let _ = client.publish(
        bench,
        &format!("devices/{name}/report/inventory"),
        said.to_string().as_bytes(),
        Qos::AtLeastOnce,
    );
    look(bench);
}

fn composition(bench: &Bench, name: &str) -> Value {
    let request = AdminRequest::DeviceShow { name: name.parse().unwrap() };
    ask(bench, Role::Viewer, request).unwrap()["composition"].clone()
}

/// CSA-ACT-01: whoever asks for a library learns which firmware has it and which devices run that.
#[test]
fn a_library_is_found_in_firmware_and_on_devices() {
    let bench = Bench::new();
    for (name, firmware) in [("p-1", "2.0"), ("p-2", "2.1"), ("p-3", "2.1"), ("p-4", "1.0")] {
        let _ = bench.device(name);
        let fields = Fields { model: Some("P30".into()), firmware: Some(firmware.into()), ..Fields::default() };
        let _ = operate(&bench, AdminRequest::DeviceEdit { name: name.parse().unwrap(), fields });
    }
    let _ = operate(&bench, add("2.0", &document(&[("openssl", "3.0.7"), ("zlib", "1.2")])));
    let _ = operate(&bench, add("2.1", &document(&[("openssl", "3.1.0"), ("zlib", "1.2")])));
    let (firmware, devices) = find(&bench, "OpenSSL@3.0");
    assert_eq!((firmware, devices), (vec!["2.0 1".into()], vec!["p-1 false".into()]));
    let (firmware, devices) = find(&bench, "pkg:generic/zlib");
    assert_eq!(firmware, ["2.0 1", "2.1 2"]);
    assert_eq!(devices, ["p-1 false", "p-2 false", "p-3 false"]);
    assert_eq!(find(&bench, "libcurl"), (vec![], vec![]));
    assert_eq!(listed(&bench, "openssl@3.1").unwrap(), ["p-2", "p-3"]);
    assert!(matches!(listed(&bench, ""), Err(AdminError::Invalid(_))));
    assert!(matches!(listed(&bench, "pkg:"), Err(AdminError::Invalid(_))));
    bench.set_state("p-3", portreeve_types::LifecycleState::Retired).unwrap();
    assert_eq!(find(&bench, "zlib").1, ["p-1 false", "p-2 false"], "what is out of service for ever runs nothing");
    // It is there after a restart, too, and then as well.
    let bench = bench.reopen();
    assert_eq!(find(&bench, "openssl@3.0").0, ["2.0 1"]);
}

#[test]
fn an_sbom_is_kept_byte_for_byte_and_replacing_one_is_noted() {
    let bench = Bench::new();
    let first = format!(" {}\r\n\n", document(&[("a", "1")]));
    let result = operate(&bench, add("2.0", &first));
    assert_eq!((&result["components"], &result["replaces"]), (&json!(1), &Value::Null));
    assert!(result["warnings"][0].as_str().unwrap().contains("metadata.component"));
    let export = |bench: &Bench| ask(bench, Role::Auditor, AdminRequest::SbomExport { release: release("P30", "2.0") });
    assert_eq!(export(&bench).unwrap()["text"], first);
    let changed = |bench: &Bench| bench.count(EventKind::SbomChanged);
    assert_eq!(operate(&bench, add("2.0", &first))["unchanged"], true);
    assert_eq!(changed(&bench), 1, "the same once more is no change");

    let second = document(&[("a", "2")]);
    let dry = AdminRequest::SbomAdd { release: release("P30", "2.0"), text: second.clone(), dry_run: true };
    assert_eq!(operate(&bench, dry)["replaces"], result["sha256"]);
    assert_eq!(export(&bench).unwrap()["text"], first);
    assert_eq!(operate(&bench, add("2.0", &second))["replaces"], result["sha256"]);
    let bench = bench.reopen();
    let shown = show(&bench, "2.0").unwrap();
    assert_eq!(shown["components"], json!([{ "name": "a", "version": "2", "purl": "pkg:generic/a@2" }]));
    assert_eq!((&shown["replaced"][0]["sha256"], &shown["replaced"][0]["by"]), (&result["sha256"], &json!("operator")));
    // Only so many editions are remembered.
    for number in 3..30 {
        let _ = operate(&bench, add("2.0", &document(&[("a", &number.to_string())])));
    }
    assert_eq!(show(&bench, "2.0").unwrap()["replaced"].as_array().unwrap().len(), 16);

    let remove = |dry_run| AdminRequest::SbomRemove { release: release("P30", "2.0"), dry_run };
    let _ = operate(&bench, remove(true));
    assert!(show(&bench, "2.0").is_ok());
    let _ = operate(&bench, remove(false));
    assert!(matches!(show(&bench, "2.0"), Err(AdminError::Refused(_))));
    assert!(matches!(ask(&bench, Role::Operator, remove(false)), Err(AdminError::Refused(_))));
    let bench = bench.reopen();
    assert_eq!(operate(&bench, AdminRequest::SbomList), json!([]));
}

/// Who may only look changes nothing.
#[test]
fn roles_that_read_do_not_write() {
    let bench = Bench::new();
    let text = document(&[("a", "1")]);
    for role in [Role::Viewer, Role::Auditor, Role::ReleaseSigner] {
        assert!(matches!(ask(&bench, role, add("2.0", &text)), Err(AdminError::Role { .. })), "{role}");
        let remove = AdminRequest::SbomRemove { release: release("P30", "2.0"), dry_run: true };
        assert!(matches!(ask(&bench, role, remove), Err(AdminError::Role { .. })), "{role}");
        assert_eq!(ask(&bench, role, AdminRequest::SbomList).unwrap(), json!([]));
    }
    let _ = operate(&bench, add("2.0", &text));
    assert!(show(&bench, "2.0").is_ok());
}

#[test]
fn every_bound_has_its_outcome() {
    let mut bench = Bench::with(|config| {
        config.limits.sboms = 2;
        config.limits.sbom_bytes = 2000;
        config.limits.sbom_bytes_total = 3000;
    });
    let padded = |bytes: usize| format!("{:<bytes$}", document(&[("a", "1")]));
    let refused = |bench: &Bench, request| ask(bench, Role::Operator, request).map(drop).unwrap_err().to_string();
    assert!(refused(&bench, add("1", &padded(2001))).contains("limits.sbom_bytes"));
    let _ = operate(&bench, add("1", &padded(2000)));
    assert!(refused(&bench, add("2", &padded(1001))).contains("limits.sbom_bytes_total"));
    let _ = operate(&bench, add("2", &padded(1000)));
    let _ = operate(&bench, add("1", &padded(1999)));
    assert!(refused(&bench, add("3", &document(&[]))).contains("limits.sboms"));
    assert_eq!(bench.count(EventKind::LimitReached), 2);
    for (model, firmware) in [("", "1"), ("P30", ""), ("P\n30", "1"), (&*"x".repeat(257), "1")] {
        let request = AdminRequest::SbomAdd { release: release(model, firmware), text: padded(0), dry_run: true };
        assert!(matches!(ask(&bench, Role::Operator, request), Err(AdminError::Invalid(_))), "{model:.10} {firmware}");
    }
    let spdx = r#"{"spdxVersion": "SPDX-2.3"}"#;
    assert!(refused(&bench, add("1", spdx)).contains("SPDX"));
    assert_eq!(show(&bench, "1").unwrap()["bytes"], 1999, "what is refused replaces nothing");
    // What is there when a bound is lowered stays, and can be replaced by something smaller.
    bench.config.limits.sboms = 1;
    let wall = bench.wall();
    bench.hub.reconfigure(bench.config.clone(), wall).unwrap();
    assert!(show(&bench, "2").is_ok());
}

/// A device speaks for itself: it changes no SBOM, and a difference is told.
#[test]
fn a_device_reports_its_libraries_and_nobody_elses() {
    let mut bench = Bench::new();
    let (one, other) = (bench.device("p-1"), bench.device("p-2"));
    let (mut one, mut other) = (bench.connect(&one, connect("p-1")), bench.connect(&other, connect("p-2")));
    let result = operate(&bench, add("2.0", &document(&[("openssl", "3.0.7"), ("zlib", "1.2")])));
    let differs = |bench: &Bench| bench.count(EventKind::SbomDiffers);
    let honest =
        json!({ "model": "P30", "firmware": "2.0", "libraries": ["pkg:generic/openssl@3.0.7", { "name": "zlib" }] });
    report(&mut bench, &mut one, "p-1", &honest);
    assert_eq!(differs(&bench), 0);
    let forged = json!({ "model": "P30", "firmware": "2.0", "libraries": [{ "name": "openssl", "version": "3.0.8" }, { "name": "miner" }] });
    report(&mut bench, &mut other, "p-2", &forged);
    assert_eq!(differs(&bench), 1);
    report(&mut bench, &mut other, "p-2", &forged);
    assert_eq!(differs(&bench), 1, "what is known is no news");
    assert_eq!(show(&bench, "2.0").unwrap()["sha256"], result["sha256"], "no device changes an SBOM");
    let shown = composition(&bench, "p-2");
    assert_eq!(shown["sbom"]["lacks"].as_array().unwrap().len(), 2);
    assert_eq!(composition(&bench, "p-1")["libraries"][0]["name"], "openssl");
    assert_eq!(find(&bench, "miner"), (vec![], vec!["p-2 true".into()]));
    assert_eq!(find(&bench, "openssl@3.0.8").1, ["p-2 true"]);
    assert_eq!(listed(&bench, "miner").unwrap(), ["p-2"]);

    // Its list goes with the firmware that it was told of, and survives a restart.
    drop((one, other));
    let mut bench = bench.reopen();
    assert_eq!(listed(&bench, "miner").unwrap(), ["p-2"]);
    let identity = bench.add("p-3", portreeve_types::Kind::Device);
    let mut third = bench.connect(&bench.identity(&identity), connect("p-3"));
    report(&mut bench, &mut third, "p-3", &json!({ "firmware": "1", "libraries": [{ "name": "bash" }] }));
    assert_eq!(listed(&bench, "bash").unwrap(), ["p-3"]);
    report(&mut bench, &mut third, "p-3", &json!({ "firmware": "2" }));
    assert_eq!((listed(&bench, "bash").unwrap(), composition(&bench, "p-3")["libraries"].clone()), (vec![], json!([])));
    // What is no list is refused as a whole.
    let refused = bench.count(EventKind::ReportRefused);
    for libraries in
        [json!(["bash"]), json!([{ "name": "a\u{1b}" }]), json!(vec![json!({ "name": "a" }); 257]), json!("a")]
    {
        report(&mut bench, &mut third, "p-3", &json!({ "firmware": "3", "libraries": libraries }));
    }
    assert_eq!(bench.count(EventKind::ReportRefused), refused + 4);
    assert_eq!(bench.hub.registry().find(&"p-3".parse().unwrap()).unwrap().firmware, "2");
}

/// An SBOM that comes later is held against what was reported before.
#[test]
fn what_was_reported_before_is_compared_when_an_sbom_comes() {
    let mut bench = Bench::new();
    let device = bench.device("p-1");
    let mut client = bench.connect(&device, connect("p-1"));
    report(
        &mut bench,
        &mut client,
        "p-1",
        &json!({ "model": "P30", "firmware": "2.0", "libraries": [{ "name": "openssl" }] }),
    );
    let _ = operate(&bench, add("2.0", &document(&[("mbedtls", "3.6")])));
    look(&mut bench);
    assert_eq!(bench.count(EventKind::SbomDiffers), 1);
    let history = ask(&bench, Role::Viewer, AdminRequest::DeviceHistory { name: "p-1".parse().unwrap() }).unwrap();
    let row = history.as_array().unwrap().iter().find(|row| row["field"] == "libraries").unwrap().clone();
    assert_eq!((&row["after"], &row["actor"]), (&json!("1 of firmware 2.0"), &json!("p-1")));
}

/// A device that tells other libraries each second fills neither its history nor the disk.
#[test]
fn a_device_cannot_report_libraries_at_a_high_rate() {
    let mut bench = Bench::new();
    let device = bench.device("p-1");
    let mut client = bench.connect(&device, connect("p-1"));
    for number in 0..30 {
        report(
            &mut bench,
            &mut client,
            "p-1",
            &json!({ "libraries": [{ "name": "a", "version": number.to_string() }] }),
        );
    }
    let history = ask(&bench, Role::Viewer, AdminRequest::DeviceHistory { name: "p-1".parse().unwrap() }).unwrap();
    let noted = history.as_array().unwrap().iter().filter(|row| row["field"] == "libraries").count();
    assert_eq!(noted, 10);
    assert!(bench.count(EventKind::ReportRefused) >= 20);
}
