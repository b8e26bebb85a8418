//! The client's side of SCRAM (RFC 5802) with SHA-256 and SHA-512, on ring's primitives. Pure but for the nonce.
//!
//! Kafka and librdkafka take the password's bytes as they are, without SASLprep; so does this.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom as _;
use ring::{digest, hmac, pbkdf2};

use crate::telemetry::Redacted;

/// Iterations that are accepted: RFC 7677's minimum, and an upper bound so that a peer cannot keep a core busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=500_000;

/// Without channel binding, and no authorisation identity.
const GS2_HEADER: &str = "n,,";

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The exchange after the first message is made.
pub(super) struct ClientFirst {
    hash: Hash,
    nonce: String,
    bare: String,
}

/// The exchange after the proof is made: what the server must answer.
pub(super) struct ClientFinal {
    server_key: hmac::Key,
    auth_message: String,
}

impl ClientFirst {
    /// Starts with a fresh nonce.
    pub(super) fn new(hash: Hash, username: &str) -> Result<Self, String> {
        let mut random = [0_u8; 24];
        ring::rand::SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| "the system has no randomness".to_owned())?;
        Ok(Self::with_nonce(hash, username, STANDARD.encode(random)))
    }

    fn with_nonce(hash: Hash, username: &str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={username},r={nonce}");
        Self { hash, nonce, bare }
    }

    /// The first message.
    pub(super) fn message(&self) -> String {
        format!("{GS2_HEADER}{}", self.bare)
    }

    /// Answers the server's first message with the proof. Takes milliseconds of CPU, up to a second at the bound.
    pub(super) fn prove(
        self,
        password: &Redacted,
        server_first: &str,
    ) -> Result<(String, ClientFinal), String> {
        let challenge = Challenge::parse(server_first, &self.nonce)?;
        let length = self.hash.digest().output_len();
        let mut salted = vec![0_u8; length];
        let password = password.expose().as_bytes();
        pbkdf2::derive(
            self.hash.pbkdf2(),
            challenge.iterations,
            &challenge.salt,
            password,
            &mut salted,
        );
        let salted = hmac::Key::new(self.hash.hmac(), &salted);

        let without_proof = format!("c={},r={}", STANDARD.encode(GS2_HEADER), challenge.nonce);
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let signature = hmac::sign(
            &hmac::Key::new(self.hash.hmac(), stored_key.as_ref()),
            auth_message.as_bytes(),
        );
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(key, sign)| key ^ sign)
            .collect();

        let server_key = hmac::sign(&salted, b"Server Key");
        let server_key = hmac::Key::new(self.hash.hmac(), server_key.as_ref());
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((
            message,
            ClientFinal {
                server_key,
                auth_message,
            },
        ))
    }
}

impl ClientFinal {
    /// Checks that the server knows the password too.
    pub(super) fn verify(&self, server_final: &str) -> Result<(), String> {
        if let Some(error) = server_final.strip_prefix("e=") {
            return Err(format!("the broker says {error}"));
        }
        let signature = server_final
            .strip_prefix("v=")
            .and_then(|rest| STANDARD.decode(rest.split(',').next().unwrap_or_default()).ok())
            .ok_or("the broker's last SCRAM message is malformed")?;
        hmac::verify(&self.server_key, self.auth_message.as_bytes(), &signature)
            .map_err(|_| "the broker could not prove that it knows the password".to_owned())
    }
}

struct Challenge {
    nonce: String,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl Challenge {
    fn parse(message: &str, client_nonce: &str) -> Result<Self, String> {
        let mut fields = message.split(',');
        let mut field = |name: &str| {
            fields
                .next()
                .and_then(|field| field.strip_prefix(name))
                .ok_or_else(|| format!("the broker's SCRAM challenge lacks {name} at its place"))
        };
        let nonce = field("r=")?.to_owned();
        let salt = STANDARD
            .decode(field("s=")?)
            .map_err(|_| "the broker's SCRAM salt is not base64")?;
        let iterations: u32 = field("i=")?
            .parse()
            .map_err(|_| "the broker's SCRAM iteration count is not a number")?;
        if nonce.len() <= client_nonce.len() || !nonce.starts_with(client_nonce) {
            return Err("the broker's SCRAM nonce does not extend ours".into());
        }
        let bounded = NonZeroU32::new(iterations).filter(|_| ITERATIONS.contains(&iterations));
        let iterations = bounded.ok_or_else(|| {
            format!(
                "the broker asks for {iterations} SCRAM iterations; {} to {} are accepted",
                ITERATIONS.start(),
                ITERATIONS.end()
            )
        })?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn start() -> ClientFirst {
        ClientFirst::with_nonce(Hash::Sha256, "user", NONCE.into())
    }

    #[test]
    fn the_rfcs_exchange_is_reproduced() {
        let first = start();
        assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proof, last) = first.prove(&"pencil".into(), SERVER_FIRST).expect("proves");
        assert_eq!(
            proof,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(
            last.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
            Ok(())
        );
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_refused() {
        let (_, last) = start().prove(&"pencil".into(), SERVER_FIRST).expect("proves");
        for server_final in [
            "v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            "v=",
            "",
            "v=!",
            "e=other-error",
        ] {
            assert!(last.verify(server_final).is_err(), "{server_final}");
        }
    }

    #[test]
    fn a_challenge_that_breaks_the_rules_is_refused() {
        for (server_first, why) in [
            ("r=other,s=AAAA,i=4096", "nonce"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", "nonce"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4095", "iterations"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=2000000000", "iterations"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=x", "number"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", "base64"),
            ("s=AAAA,i=4096", "r="),
            ("", "r="),
        ] {
            let error = start()
                .prove(&"pencil".into(), server_first)
                .err()
                .expect(server_first);
            assert!(error.contains(why), "{server_first}: {error}");
        }
    }

    #[test]
    fn names_with_commas_and_equal_signs_are_escaped() {
        let first = ClientFirst::with_nonce(Hash::Sha512, "a,b=c", "n".into());
        assert_eq!(first.message(), "n,,n=a=2Cb=3Dc,r=n");
    }

    #[test]
    fn nonces_are_fresh() {
        let [a, b] = [(); 2].map(|()| ClientFirst::new(Hash::Sha512, "user").expect("starts").nonce);
        assert!(a != b && a.len() >= 24, "{a} {b}");
    }
}
