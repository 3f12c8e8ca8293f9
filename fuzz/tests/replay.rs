//! Every corpus file, and seeded damages of each, through its target: the fuzzing that a stable compiler can do.
//!
//! `PORTREEVE_FUZZ_ROUNDS` sets the number of damages of each file, `PORTREEVE_FUZZ_SEED` where they start.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used)]

use std::{fs, panic, path::PathBuf};

use portreeve_fuzz::{TARGETS, Target};

const ROUNDS: u64 = 2_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The corpus of a target in a fixed order: name and content.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(root().join("corpus").join(target))
        .unwrap_or_else(|error| panic!("{target} has no corpus: {error}"))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// One to eight small damages; now and then the tail of another file.
fn damage(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    const EDGES: &[u8] = &[0, 1, 0x7f, 0x80, 0xff, b'+', b'#', b'/', b'$', b'\n', 0x26];
    let mut out = input.to_vec();
    if random.below(8) == 0 && !other.is_empty() {
        out.truncate(random.below(out.len() + 1));
        out.extend(&other[random.below(other.len())..]);
    }
    for _ in 0..=random.below(8) {
        let at = random.below(out.len() + 1);
        if at == out.len() {
            out.push(random.byte());
            continue;
        }
        match random.below(7) {
            0 => out[at] = random.byte(),
            1 => out[at] = EDGES[random.below(EDGES.len())],
            2 => out[at] ^= 1 << random.below(8),
            3 => drop(out.remove(at)),
            4 => out.insert(at, out[at]),
            5 => out[at] = out[at].wrapping_add(1),
            _ => out.truncate(at),
        }
    }
    // Half of them keep the second byte, an MQTT packet's length, in step.
    if random.below(2) == 0 && (2..0x82).contains(&out.len()) {
        out[1] = u8::try_from(out.len() - 2).unwrap();
    }
    out
}

fn run(name: &str, target: Target, input: &[u8], origin: &str) {
    if panic::catch_unwind(|| target(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{name} fails on {origin}: {hex}");
    }
}

#[test]
fn the_corpus_and_its_damages_pass() {
    let (rounds, seed) = (setting("PORTREEVE_FUZZ_ROUNDS", ROUNDS), setting("PORTREEVE_FUZZ_SEED", 1));
    for &(name, target) in TARGETS {
        let files = corpus(name);
        assert!(files.len() >= 8, "{name} has only {} seeds", files.len());
        for (at, (file, input)) in files.iter().enumerate() {
            run(name, target, input, file);
            let mut random = Random(seed.wrapping_add(at as u64) << 32);
            for round in 0..rounds {
                let other = &files[random.below(files.len())].1;
                let damaged = damage(&mut random, input, other);
                run(name, target, &damaged, &format!("{file}, seed {seed}, round {round}"));
            }
        }
    }
}

#[test]
fn every_target_has_a_stub_and_a_program() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for &(name, _) in TARGETS {
        let stub = fs::read_to_string(root().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(stub.contains(&format!("portreeve_fuzz::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
    }
    assert_eq!(fs::read_dir(root().join("fuzz_targets")).unwrap().count(), TARGETS.len(), "a stub without a target");
    assert_eq!(fs::read_dir(root().join("corpus")).unwrap().count(), TARGETS.len(), "a corpus without a target");
}

/// The properties are not empty words: a target that must fail does, and the input is told.
#[test]
fn a_failing_target_is_reported_with_its_input() {
    let refuse: Target = |data| assert!(data.len() < 3);
    run("refuse", refuse, &[1, 2], "short");
    let told = panic::catch_unwind(|| run("refuse", refuse, &[0xab, 2, 3], "long")).unwrap_err();
    assert_eq!(told.downcast_ref::<String>().map(String::as_str), Some("refuse fails on long: ab0203"));
}
