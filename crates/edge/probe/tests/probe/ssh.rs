use portreeve_assurance::{
    Verdict,
    checks::ssh::ssh_algos,
    evidence::{Seen, ssh::SshScan},
};
use portreeve_probe::{Dialer, ssh};

use crate::support::{saying, short};

/// A server that says its banner and these lists.
fn server(banner: &str, lists: [&str; 10]) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in lists {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    let padding = 4 + (8 - (payload.len() + 5 + 4) % 8) % 8;
    let length = u32::try_from(payload.len() + 1 + padding).unwrap().to_be_bytes();
    [banner.as_bytes(), b"\r\n", &length, &[u8::try_from(padding).unwrap()], &payload, &vec![0; padding]].concat()
}

async fn scan(bytes: Vec<u8>) -> SshScan {
    ssh::scan(&Dialer::new(saying(bytes).await, short())).await
}

const MODERN: [&str; 10] = [
    "sntrup761x25519-sha512@openssh.com,curve25519-sha256,kex-strict-s-v00@openssh.com",
    "ssh-ed25519,rsa-sha2-512",
    "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512",
    "none",
    "none",
    "",
    "",
];

/// CSA-COM-07, IOTSF-2.4.7.15
#[tokio::test]
async fn weak_algorithms_are_named_and_strong_ones_leave_one_thing_open() {
    let mut facts = scan(server("SSH-2.0-OpenSSH_9.9", MODERN)).await;
    // It does not finish the key exchange, behind which it would say how one may log in.
    assert_eq!(ssh_algos(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
    facts.methods = Seen::NotTried;
    assert_eq!(ssh_algos(&facts).verdict, Verdict::Partial);
    facts.methods = Seen::Known(vec!["publickey".into()]);
    assert_eq!(ssh_algos(&facts).verdict, Verdict::Pass);
    facts.methods = Seen::Known(vec!["publickey".into(), "keyboard-interactive".into()]);
    assert_eq!(ssh_algos(&facts).observed, "keyboard-interactive is offered");
    facts.methods = Seen::Known(Vec::new());
    assert_eq!(ssh_algos(&facts).verdict, Verdict::Fail);
    let mut weak = MODERN;
    (weak[0], weak[1], weak[3], weak[5]) = ("diffie-hellman-group1-sha1", "ssh-dss", "aes128-cbc", "hmac-md5");
    let judgement = ssh_algos(&scan(server("SSH-2.0-dropbear_2012.55", weak)).await);
    assert_eq!(judgement.verdict, Verdict::Fail);
    let named = "key exchange diffie-hellman-group1-sha1; host key ssh-dss; encryption aes128-cbc; MAC hmac-md5";
    assert_eq!(judgement.observed, named);
    assert_eq!(ssh_algos(&scan(server("SSH-1.99-Cisco-1.25", MODERN)).await).verdict, Verdict::Fail);
}

#[tokio::test]
async fn nonsense_is_inconclusive() {
    let whole = server("SSH-2.0-x", MODERN);
    let mut lies = whole.clone();
    lies[11..15].copy_from_slice(&[0xff; 4]);
    for bytes in [
        Vec::new(),
        whole[..40].to_vec(),
        lies,
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        b"x\n".repeat(1000),
        vec![b'x'; 5000],
    ] {
        let facts = scan(bytes).await;
        assert_eq!(ssh_algos(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
    }
}
