//! SBOMs that operators attach and libraries that devices report, `portreeve-hub`.

use portreeve_hub::sbom::{COMPONENTS_MAX, Component, LIBRARIES_MAX, Libraries, Query, Sbom, TEXT_BYTES_MAX};

/// CycloneDX in JSON, and a device's list. What is read is bounded, clean, in order, and found by its own name.
pub fn sbom(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Sbom::read(text) {
        Ok(sbom) => check(sbom.components(), COMPONENTS_MAX),
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 1000 && !told.contains(char::is_control), "{told:?}");
        }
    }
    // Devices are not asked to say what is wrong.
    let Ok(libraries) = serde_json::from_str::<Libraries>(text) else { return };
    check(libraries.components(), LIBRARIES_MAX);
}

fn check(components: &[Component], count_max: usize) {
    assert!(components.len() <= count_max && components.is_sorted());
    for pair in components.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
    for component in components {
        let Component { name, version, purl } = component;
        for text in [name, version, purl] {
            assert!(text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control), "{text:?}");
        }
        // An `@` at the end of a name is taken for that before a version, and one that looks like a package URL for one.
        if !name.contains('@') && !name.starts_with("pkg:") && !name.is_empty() {
            assert!(name.parse::<Query>().is_ok_and(|query| query.finds(component)), "{name}");
        }
    }
}
