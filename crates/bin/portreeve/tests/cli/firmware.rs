use serde_json::{Value, json};

use crate::support::{Place, eventually};

/// In the shape that `cargo cyclonedx` and `syft` give them; the same files are the corpus of the fuzz target.
const CARGO: &str = include_str!("../../../../../fuzz/corpus/sbom/cargo.json");
const SYFT: &str = include_str!("../../../../../fuzz/corpus/sbom/syft.json");
const SPDX: &str = include_str!("../../../../../fuzz/corpus/sbom/spdx.json");

fn add<'a>(firmware: &'a str, file: &'a str) -> [&'a str; 8] {
    ["firmware", "sbom", "add", "--model", "P30", "--firmware", firmware, file]
}

/// With one blank between words, however columns are aligned.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refused(place: &Place, args: &[&str], status: i32, said: &str) {
    let done = place.run(args);
    assert!((done.status, done.out.as_str()) == (status, "") && done.err.contains(said), "{said}: {done:?}");
}

/// CSA-ACT-01: from the build's SBOM and the devices' reports to who runs what.
#[test]
fn a_build_attaches_its_sbom_and_people_find_who_runs_what() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.write("cargo.json", CARGO);
    place.write("syft.json", SYFT);
    let dry = place.ok(&[&add("2.1.0", "cargo.json")[..], &["--dry-run"]].concat());
    assert!(dry.starts_with("P30 2.1.0 would have an SBOM of 2 components, SHA-256 "), "{dry}");
    assert_eq!(place.json(&["firmware", "sbom", "list"]), json!([]));
    let done = place.run(&add("2.1.0", "cargo.json"));
    assert!(done.status == 0 && done.out.starts_with("P30 2.1.0 has an SBOM of 2 components"), "{done:?}");
    assert_eq!(done.err, "", "metadata.component is of that name and version");
    let done = place.run(&add("2.2.0", "syft.json"));
    assert!(done.status == 0 && done.err.contains("metadata.component is `rootfs`, not `P30`"), "{done:?}");

    place.ok(&["device", "add", "p-1", "--model", "P30", "--firmware", "2.2.0"]);
    place.ok(&["device", "add", "p-2", "--out", "p-2"]);
    let said = r#"{"model": "P30", "firmware": "2.1.0", "libraries": ["pkg:cargo/rustls@0.23.12", {"name": "xz", "version": "5.6.1"}]}"#;
    let topic = "devices/p-2/report/inventory";
    place.ok(&["client", "pub", "--bundle", "p-2", "--port", &hub.port(), "-t", topic, "-m", said]);
    eventually("the report is written and compared", || place.log().contains("sbom_differs"));

    let found = words(&place.ok(&["firmware", "sbom", "find", "LIBSSL3@3.0"]));
    assert!(found.contains("P30 2.2.0 1 libssl3 3.0.15-1~deb12u1"), "{found}");
    assert!(found.contains("p-1 P30 2.2.0 pending SBOM"), "{found}");
    let found = place.json(&["firmware", "sbom", "find", "pkg:cargo/rustls@0.23"]);
    assert_eq!((&found["device_count"], &found["devices"][0]["name"]), (&json!(1), &json!("p-2")));
    assert_eq!((&found["devices"][0]["in_sbom"], &found["devices"][0]["reported"]), (&json!(true), &json!(true)));
    let names = |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&place.json(&["device", "list", "--library", "xz"])), ["p-2"]);
    assert!(place.ok(&["device", "export", "--library", "xz"]).contains("\np-2,"));
    assert!(place.ok(&["firmware", "sbom", "find", "log4j"]).contains("No SBOM has log4j"));
    refused(&place, &["firmware", "sbom", "find", "pkg:"], 2, "package URL");

    let shown = words(&place.ok(&["device", "show", "p-2"]));
    let (own, lacks) = shown.split_once("The SBOM of its firmware lacks").unwrap();
    assert!(own.contains("rustls 0.23.12 pkg:cargo/rustls@0.23.12"), "{shown}");
    assert!(lacks.contains("xz") && !lacks.contains("rustls"), "{shown}");
    let listed = words(&place.ok(&["firmware", "sbom", "list"]));
    assert!(listed.contains("P30 2.1.0 2 1 ") && listed.contains("P30 2.2.0 4 1 "), "{listed}");
}

#[test]
fn an_sbom_comes_out_as_it_went_in() {
    let place = Place::new();
    let _hub = place.serve(&[]);
    place.write("cargo.json", CARGO);
    let args = [&add("2.1.0", "cargo.json")[..], &["--output", "json"]].concat();
    let attached: Value = serde_json::from_str(&place.ok(&args)).unwrap();
    let which = ["P30", "2.1.0"];
    let sbom = |verb, more: &[&'static str]| [&["firmware", "sbom", verb], &which[..], more].concat();
    assert_eq!(place.ok(&sbom("export", &[])), CARGO);
    let told = place.ok(&sbom("export", &["--out", "out.json"]));
    assert!(told.contains(attached["sha256"].as_str().unwrap()), "{told}");
    assert_eq!(std::fs::read_to_string(place.path("out.json")).unwrap(), CARGO);
    assert!(place.openssl("dgst -sha256 out.json").contains(attached["sha256"].as_str().unwrap()));
    refused(&place, &sbom("export", &["--out", "out.json"]), 2, "cannot make");

    place.write("syft.json", SYFT);
    assert!(place.ok(&add("2.1.0", "syft.json")).contains("It replaces the one with SHA-256"));
    let shown = place.ok(&sbom("show", &[]));
    assert!(shown.contains("replaced") && shown.contains("pkg:npm/%40angular/core@12.3.1"), "{shown}");
    assert!(place.ok(&sbom("remove", &["--dry-run"])).contains("would be removed"));
    assert!(place.ok(&sbom("remove", &[])).contains("is removed"));
    refused(&place, &sbom("show", &[]), 4, "there is no SBOM of P30 2.1.0");
    refused(&place, &sbom("remove", &[]), 4, "there is no SBOM of P30 2.1.0");
}

#[test]
fn what_is_no_sbom_is_refused_and_it_is_said_why() {
    let place = Place::new();
    let _hub = place.serve(&["--set", "limits.sbom_bytes=16777216"]);
    let nested = format!("{}[]{}", r#"[{"name":"a","components":"#.repeat(17), "}]".repeat(17));
    let head = r#"{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": "#;
    for (text, said) in [
        ("openssl 3.0.7", "not CycloneDX in JSON"),
        (SPDX, "SPDX document; CycloneDX in JSON is wanted"),
        ("<?xml version='1.0'?><bom/>", "this is XML"),
        ("{}", "`bomFormat` is not"),
        (r#"{"bomFormat": "CycloneDX", "specVersion": "1.3"}"#, "this is CycloneDX 1.3; 1.4, 1.5, 1.6 are read"),
        (&format!("{head}[{{\"version\": \"1\"}}]}}"), "missing field `name`"),
        (&format!("{head}{nested}}}"), "more than 16 deep"),
        (&format!("{head}{}", r#"[{"name":"a","components":"#.repeat(1000)), "recursion limit"),
    ] {
        place.write("bad", text);
        refused(&place, &add("2.1.0", "bad"), 2, said);
    }
    std::fs::write(place.path("bad"), b"\xff\xfe").unwrap();
    refused(&place, &add("2.1.0", "bad"), 2, "not UTF-8");
    refused(&place, &add("2.1.0", "missing"), 2, "cannot read missing");
    place.write("huge", &" ".repeat((16 << 20) + 1));
    refused(&place, &add("2.1.0", "huge"), 2, "more than 16777216 bytes");
    // As large as may be, and full of what JSON has to escape.
    place.write("full", &format!("{head}[]{}}}", "\n".repeat((16 << 20) - head.len() - 3)));
    assert!(place.ok(&add("2.1.0", "full")).contains("an SBOM of 0 components"));
    assert_eq!(place.ok(&["firmware", "sbom", "export", "P30", "2.1.0"]).len(), 16 << 20);
    place.write("small", CARGO);
    let nameless = ["firmware", "sbom", "add", "--model", "", "--firmware", "1", "small"];
    refused(&place, &nameless, 2, "a model has 1 to 256 characters");
}
