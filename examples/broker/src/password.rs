//! Passwords in a file of users, in the formats of `mosquitto_passwd`.

use std::fmt;
use std::num::NonZeroU32;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq as _;

/// Maximum number of iterations, at which a check takes some ten seconds of processor time. mosquitto_passwd uses 101,
/// or 1000 in newer versions, and OWASP recommends 210,000.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Length of a hash, in bytes: that of SHA-512.
const HASH: usize = digest::SHA512_OUTPUT_LEN;

/// A password in a file.
pub(crate) enum Password {
    Plain(String),
    Hashed(Hash),
}

/// A salted hash.
#[derive(Clone)]
pub(crate) struct Hash {
    kind: Kind,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// SHA-512 of the password and the salt: `$6$salt$hash`. Older files have it, although it is too fast to be
    /// recommended.
    Sha512,
    /// PBKDF2 with HMAC-SHA-512: `$7$iterations$salt$hash`.
    Pbkdf2(NonZeroU32),
}

impl Password {
    /// Parses the text after the user name. Salts and hashes are in base64.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            bail!("an empty password");
        }
        // `$`, some letters and digits, `$`: the beginning of a hash as written by crypt(3) and others.
        let kind = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
        let kind = kind.filter(|(kind, _)| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        let hash = match kind {
            None => return Ok(Self::Plain(text.to_owned())),
            Some(("6", rest)) => Hash::parse(Kind::Sha512, rest),
            Some(("7", rest)) => {
                let (iterations, rest) = rest.split_once('$').context("a hash without salt")?;
                let iterations =
                    iterations.parse().ok().filter(|iterations: &NonZeroU32| iterations.get() <= MAX_ITERATIONS);
                let iterations = iterations
                    .with_context(|| format!("the number of iterations is not one from 1 to {MAX_ITERATIONS}"))?;
                Hash::parse(Kind::Pbkdf2(iterations), rest)
            }
            Some((kind, _)) => {
                bail!("a password hash of the unknown kind ${kind}$; those of mosquitto_passwd, $6$ and $7$, are known")
            }
        };
        hash.map(Self::Hashed)
    }
}

/// Prints the kind only.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Hashed(_) => "Hashed",
        })
    }
}

impl Hash {
    fn parse(kind: Kind, rest: &str) -> Result<Self> {
        let (salt, hash) = rest.split_once('$').context("a hash without salt")?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty()).context("the salt is not in base64")?;
        let hash = STANDARD.decode(hash).ok().context("the hash is not in base64")?;
        if hash.len() != HASH {
            bail!("the hash has {} bytes where {HASH} are expected", hash.len());
        }
        Ok(Self { kind, salt, hash })
    }

    /// Returns a hash of no password that takes as long to check as this one.
    pub(crate) fn decoy(&self) -> Self {
        Self { kind: self.kind, salt: self.salt.clone(), hash: vec![0; HASH] }
    }

    /// Returns the number of iterations, which determines the time of a check.
    pub(crate) fn iterations(&self) -> u32 {
        match self.kind {
            Kind::Sha512 => 1,
            Kind::Pbkdf2(iterations) => iterations.get(),
        }
    }

    /// Returns whether this is the password. The time does not depend on which byte is wrong.
    pub(crate) fn fits(&self, password: &[u8]) -> bool {
        match self.kind {
            Kind::Sha512 => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(&self.salt);
                bool::from(context.finish().as_ref().ct_eq(&self.hash))
            }
            Kind::Pbkdf2(iterations) => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &self.salt, password, &self.hash).is_ok()
            }
        }
    }
}
