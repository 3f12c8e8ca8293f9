//! Every valid packet cut short and damaged: no panic, nothing decoded that is not whole, and whatever decodes encodes
//! to what decodes equal.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Random, SAMPLES, bytes, receive};
use portreeve_mqtt::{Packet, Reason, Sender, Version, encode, frame};

/// A seed may be given to repeat a run.
fn seed() -> u64 {
    std::env::var("PORTREEVE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed)
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let mut out = Vec::new();
    encode::any(&mut out, version, packet).unwrap();
    out
}

fn assert_round_trip(version: Version, from: Sender, packet: &Packet<'_>) {
    let again = encoded(version, packet);
    assert_eq!(receive(version, from, &again).as_ref(), Ok(packet), "{again:02x?}");
}

#[test]
fn every_sample_decodes_and_survives_a_round_trip() {
    for &(version, from, notation) in SAMPLES {
        let wire = bytes(notation);
        let packet = receive(version, from, &wire).unwrap_or_else(|violation| panic!("{notation}: {violation}"));
        assert_round_trip(version, from, &packet);
    }
}

#[test]
fn a_packet_cut_short_is_never_a_packet() {
    for &(version, from, notation) in SAMPLES {
        let wire = bytes(notation);
        assert_eq!(frame(&wire, u32::MAX), Ok(Some(wire.len())), "{notation}");
        for cut in 0..wire.len() {
            assert_eq!(frame(&wire[..cut], u32::MAX), Ok(None), "{notation} cut at {cut}");
            assert!(receive(version, from, &wire[..cut]).is_err(), "{notation} cut at {cut}");
        }
    }
}

/// Cut inside the body with a header that admits to it: what decodes then is a shorter payload or list, nothing else.
#[test]
fn a_body_cut_short_is_malformed_or_a_shorter_packet() {
    for &(version, from, notation) in SAMPLES {
        let wire = bytes(notation);
        let header = if wire[1] < 0x80 { 2 } else { 3 };
        for cut in header..wire.len() {
            let length = cut - header;
            let mut short = vec![wire[0]];
            if length > 0x7f {
                short.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            }
            short.push(u8::try_from(if length > 0x7f { length >> 7 } else { length }).unwrap());
            short.extend(&wire[header..cut]);
            match receive(version, from, &short) {
                Ok(packet) => assert_round_trip(version, from, &packet),
                Err(violation) => assert!(violation.reason.is_error(), "{notation} cut at {cut}"),
            }
        }
    }
}

#[test]
fn a_byte_more_is_never_ignored() {
    for &(version, from, notation) in SAMPLES {
        let wire = bytes(notation);
        let longer = [&wire[..], &[0]].concat();
        assert!(portreeve_mqtt::decode(version, from, &longer).is_err(), "{notation}");
        assert_eq!(frame(&longer, u32::MAX), Ok(Some(wire.len())), "the byte belongs to the next packet");
    }
}

#[test]
fn the_cap_is_enforced_as_soon_as_the_length_is_readable() {
    for &(_, _, notation) in SAMPLES {
        let wire = bytes(notation);
        let length = u32::try_from(wire.len()).unwrap();
        assert_eq!(frame(&wire, length), Ok(Some(wire.len())), "{notation}");
        let header = if wire[1] < 0x80 { 2 } else { 3 };
        let refused = frame(&wire[..header], length - 1).unwrap_err();
        assert_eq!(refused.reason, Reason::PACKET_TOO_LARGE, "{notation}");
    }
}

/// Damages a packet in one to four places: a byte replaced, flipped in a bit, removed, doubled, or a length moved.
fn damage(random: &mut Random, wire: &[u8]) -> Vec<u8> {
    const EDGES: [u8; 10] = [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, b'+', b'#', 0x26, 0x0b];
    let mut wire = wire.to_vec();
    for _ in 0..=random.below(4) {
        if wire.is_empty() {
            break;
        }
        let at = random.below(wire.len());
        match random.below(6) {
            0 => wire[at] = random.byte(),
            1 => wire[at] = EDGES[random.below(EDGES.len())],
            2 => wire[at] ^= 1 << random.below(8),
            3 => drop(wire.remove(at)),
            4 => wire.insert(at, wire[at]),
            _ => wire[at] = wire[at].wrapping_add(1),
        }
    }
    // Half of them with the header's length put right, so that the damage reaches the body's checks.
    if random.below(2) == 0 && wire.len() >= 2 && wire.len() < 0x80 {
        wire[1] = u8::try_from(wire.len() - 2).unwrap();
    }
    wire
}

#[test]
fn two_hundred_thousand_damaged_packets_never_panic_and_never_decode_to_something_else() {
    let mut random = Random(seed());
    let samples: Vec<_> = SAMPLES.iter().map(|&(version, from, notation)| (version, from, bytes(notation))).collect();
    let mut decoded = 0;
    for _ in 0..200_000 {
        let (version, from, wire) = &samples[random.below(samples.len())];
        let damaged = damage(&mut random, wire);
        let other = if *version == Version::V5 { Version::V311 } else { Version::V5 };
        for version in [*version, other] {
            if let Ok(packet) = receive(version, *from, &damaged) {
                decoded += 1;
                assert_round_trip(version, *from, &packet);
            }
        }
    }
    assert!(decoded > 20_000, "only {decoded} survived: the damage is too coarse to test round trips");
}

#[test]
fn noise_never_panics() {
    let mut random = Random(seed());
    for _ in 0..100_000 {
        let length = random.below(40);
        let mut noise: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        if let [_, remaining, rest @ ..] = &mut noise[..] {
            *remaining = u8::try_from(rest.len()).unwrap();
        }
        for version in [Version::V311, Version::V5] {
            for from in [Sender::Client, Sender::Server] {
                if let Ok(packet) = receive(version, from, &noise) {
                    assert_round_trip(version, from, &packet);
                }
            }
        }
    }
}
