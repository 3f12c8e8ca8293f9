//! What comes before the request of a device with a TPM: a challenge that nobody but that TPM can read, and only if it
//! holds the key that is to be certified.

use std::net::IpAddr;

use portreeve_events::Kind as EventKind;
use portreeve_keys::tpm::{Challenge, TpmKeyArea};
use portreeve_pki::{ChallengeAnswer, Question, QuestionRefusal, SubjectPublicKey};

use super::{EnrolRefusal, Rated, Why, groups::Promise};
use crate::{Hub, Now};

impl Hub {
    /// The challenge for the TPM and the key of a question; or why the message that should have brought it is none. Whoever answers it shows that this TPM holds this key, and
    /// brings the answer with its request as [`super::Claim::Tpm`].
    ///
    /// Nothing is kept of it. It costs its source as much as a failed request does, whatever comes of it: certificates of
    /// endorsement keys are no secret, so anybody can ask.
    ///
    /// # Errors
    /// What the sender may hear. Why is in the log.
    pub fn tpm_challenge(
        &self,
        question: Result<Question, QuestionRefusal>,
        source: IpAddr,
        now: Now,
    ) -> Result<ChallengeAnswer, EnrolRefusal> {
        let (rated, limits) = (Rated::source(source), &self.config().limits);
        let asked = match self.enrolment.failures_wait_s(rated, limits, now.mono_ms) {
            Some(wait_s) => Err(Why::TooManyFailures(wait_s)),
            None => {
                self.enrolment.failed(rated, limits, now.mono_ms);
                question.map_err(Why::from).and_then(|question| self.challenge(&question, now))
            }
        };
        asked.map_err(|why| {
            self.tell_of(EventKind::EnrolmentRefused, None, source, format_args!("{why}"));
            why.answer()
        })
    }

    fn challenge(&self, question: &Question, now: Now) -> Result<ChallengeAnswer, Why> {
        let area = TpmKeyArea::parse(&question.key_area).ok_or(Why::NotInTpm)?;
        let key = SubjectPublicKey::from_spki_der(area.public().spki_der())?.hash();
        let Promise { spki_der, activation, secret } = self.groups.promise(&question.endorsement, key, now.wall)?;
        let challenge = Challenge::new(&spki_der, &area, &secret).map_err(Why::Challenge)?;
        let Challenge { credential, encrypted_secret } = challenge;
        Ok(ChallengeAnswer { activation, credential, encrypted_secret })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portreeve_config::{Config, Role};
    use portreeve_pki::{
        ACTIVATION_LIFETIME, AllowList, GeneratedKey, ShownEndorsement, generate_key, make_csr, signing_key,
    };
    use portreeve_types::{Kind, LifecycleState, UnixMillis};
    use zeroize::Zeroizing;

    use super::*;
    use crate::{Actor, AdminRequest, Claim, EnrolRequest, Enrolled, GroupSettings, ProofSettings, registry::By};

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A hub with a list of one TPM, whose endorsement key is a file here.
    struct Office {
        _data: tempfile::TempDir,
        hub: std::sync::Arc<Hub>,
        signer: GeneratedKey,
        endorsement: GeneratedKey,
        start: UnixMillis,
    }

    impl Office {
        fn new() -> Self {
            let data = tempfile::tempdir().unwrap();
            let start = std::time::SystemTime::now().into();
            let hub = Hub::open(&data.path().join("hub"), Config::default(), start).unwrap();
            let [signer, endorsement] = [(); 2].map(|()| generate_key().unwrap());
            let office = Self { _data: data, hub, signer, endorsement, start };
            let signers_pem = pem::encode(&pem::Pem::new("PUBLIC KEY", office.signer.public.spki_der()));
            let proof = ProofSettings::List { signers_pem, list: Some(office.list(1)), tpm: true };
            let (name, group) = ("gateways".parse().unwrap(), String::new());
            let (names, kind) = ("gw-{serial}".to_owned(), Kind::Gateway);
            let settings = GroupSettings { name, names, kind, group, approval: false, proof };
            office.ask(AdminRequest::EnrolmentGroupAdd { settings: settings.into() });
            office
        }

        fn list(&self, version: u64) -> String {
            let devices = [("7".to_owned(), self.endorsement.public.hash())];
            let expires = self.start.plus(Duration::from_secs(86_400));
            let key = signing_key(&self.signer.pkcs8_pem).unwrap();
            AllowList::new(version, self.start, expires, devices).unwrap().seal(&key).unwrap()
        }

        fn ask(&self, request: AdminRequest) {
            let actor = Actor { name: "olga".into(), role: Role::Administrator };
            self.hub.administer(&actor, request).unwrap();
        }

        fn at(&self, after: Duration) -> Now {
            let ms = u64::try_from(after.as_millis()).unwrap();
            Now { wall: self.start.plus(after), mono_ms: ms }
        }

        fn shown(&self) -> ShownEndorsement {
            ShownEndorsement::Listed { serial: "7".into(), spki_der: self.endorsement.public.spki_der().to_vec() }
        }

        fn question(&self, key: &GeneratedKey) -> Question {
            Question { endorsement: self.shown(), key_area: area(key) }
        }

        /// What the TPM would read out of a challenge for this key.
        fn token(&self, key: &GeneratedKey, now: Now) -> Zeroizing<String> {
            let promise = self.hub.groups.promise(&self.shown(), key.public.hash(), now.wall).unwrap();
            let (credential, encrypted_secret) = (Vec::new(), Vec::new());
            ChallengeAnswer { activation: promise.activation, credential, encrypted_secret }.token(&promise.secret)
        }

        fn enrol(&self, token: &str, key: &GeneratedKey, now: Now) -> Result<Enrolled, EnrolRefusal> {
            let (csr, _) = make_csr(&key.pkcs8_pem, None).unwrap();
            let claim = Claim::Tpm { token: Zeroizing::new(token.to_owned()) };
            self.hub.enrol(&EnrolRequest { claim, csr: Ok(csr), source: SOURCE }, now)
        }

        fn refused(&self, token: &str, key: &GeneratedKey, now: Now) -> EnrolRefusal {
            self.enrol(token, key, now).err().unwrap()
        }
    }

    /// A public area as a TPM has it, with these attributes: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign.
    fn area(key: &GeneratedKey) -> Vec<u8> {
        let point = &key.public.spki_der()[key.public.spki_der().len() - 64..];
        let head = [0, 0x23, 0, 0x0b, 0, 4, 0, 0x72, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10];
        [&head[..], &[0, 32], &point[..32], &[0, 32], &point[32..]].concat()
    }

    /// CSA-CRD-04, CSA-CRD-08: a promise is for one key of one TPM, for some minutes, under one word.
    #[test]
    fn what_was_promised_to_a_tpm_is_kept_for_its_key_alone() {
        let office = Office::new();
        let [own, other] = [(); 2].map(|()| generate_key().unwrap());
        let now = office.at(Duration::ZERO);
        let token = office.token(&own, now);
        assert_eq!(office.refused(&token, &other, now), EnrolRefusal::NotEntitled, "another key");
        assert_eq!(office.refused(&token[..token.len() - 4], &own, now), EnrolRefusal::NotEntitled);
        let elsewhere = Office::new();
        assert_eq!(elsewhere.refused(&token, &own, now), EnrolRefusal::NotEntitled, "another hub");
        let late = office.at(ACTIVATION_LIFETIME);
        assert_eq!(office.refused(&token, &own, late), EnrolRefusal::NotEntitled, "too late");

        let first = office.enrol(&token, &own, now).unwrap();
        assert_eq!(first.name.as_str(), "gw-7");
        // It was reset, and has a new key in the same TPM: it is the same device.
        let again = office.enrol(&office.token(&other, now), &other, now).unwrap();
        assert_eq!(again.name, first.name);
        assert_eq!(
            office.refused(&token, &own, now),
            EnrolRefusal::Refused,
            "a key of a certificate that was replaced"
        );

        let before = office.token(&other, now);
        let name = "gateways".parse().unwrap();
        office.ask(AdminRequest::EnrolmentGroupList { name, document: office.list(2) });
        assert_eq!(office.refused(&before, &other, now), EnrolRefusal::NotEntitled, "promised under an older list");
        let after = office.token(&other, now);
        let by = By { actor: "olga", reason: "stolen", at: now.wall };
        office.hub.move_identity(&first.name, LifecycleState::Revoked, by).unwrap();
        assert_eq!(office.refused(&after, &other, now), EnrolRefusal::Refused, "a revoked device does not come back");
        office.ask(AdminRequest::EnrolmentGroupRemove { name: "gateways".parse().unwrap() });
        assert_eq!(office.refused(&after, &other, now), EnrolRefusal::NotEntitled);
    }

    #[test]
    fn questions_about_other_keys_and_tpms_get_no_challenge() {
        let office = Office::new();
        let key = generate_key().unwrap();
        let ask = |question| office.hub.tpm_challenge(question, SOURCE, office.at(Duration::ZERO));
        let answer = ask(Ok(office.question(&key))).unwrap();
        assert!(ChallengeAnswer::read(&answer.to_json()).is_some());
        let listed = |serial: &str, key: &GeneratedKey| ShownEndorsement::Listed {
            serial: serial.to_owned(),
            spki_der: key.public.spki_der().to_vec(),
        };
        for (what, endorsement) in [
            ("another TPM", listed("7", &generate_key().unwrap())),
            ("another number", listed("8", &office.endorsement)),
            ("no key", ShownEndorsement::Listed { serial: "7".into(), spki_der: vec![0x30, 0] }),
            ("a certificate of nobody", ShownEndorsement::Certificate(vec![0x30, 0])),
        ] {
            let question = Question { endorsement, key_area: area(&key) };
            assert_eq!(ask(Ok(question)).err(), Some(EnrolRefusal::NotEntitled), "{what}");
        }
        let mut movable = office.question(&key);
        movable.key_area[7] &= !2;
        assert_eq!(ask(Ok(movable)).err(), Some(EnrolRefusal::Refused), "a key that may leave its TPM");
        assert_eq!(ask(Err(QuestionRefusal::Oversized)).err(), Some(EnrolRefusal::Refused));
    }

    /// Endorsement keys are no secret, so anybody may ask about a good one, and nothing is remembered of it.
    #[test]
    fn a_flood_of_questions_waits_and_others_do_not() {
        let office = Office::new();
        let key = generate_key().unwrap();
        let ask = |source: &str, after| {
            office.hub.tpm_challenge(Ok(office.question(&key)), source.parse().unwrap(), office.at(after))
        };
        let most = office.hub.config().limits.enrolment_failures_per_source_per_min;
        for _ in 0..most {
            assert!(ask("192.0.2.1", Duration::ZERO).is_ok());
        }
        let busy = ask("192.0.2.1", Duration::ZERO).err().unwrap();
        let EnrolRefusal::Busy { retry_after_s } = busy else { panic!("{busy:?}") };
        assert!(ask("192.0.2.2", Duration::ZERO).is_ok());
        assert!(ask("192.0.2.1", Duration::from_secs(retry_after_s.into())).is_ok());
    }
}
