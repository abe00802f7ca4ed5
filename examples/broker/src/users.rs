//! The users and their passwords.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use subtle::ConstantTimeEq as _;
use tracing::warn;

use crate::lines;
use crate::password::{Hash, Password};

/// Users and their passwords.
#[derive(Debug)]
pub(crate) struct Users {
    passwords: HashMap<String, Stored>,
    /// The hash that the password of an unknown user is compared with, so that the check takes as long as that of a
    /// known user: a hash as slow as the slowest of the file.
    decoy: Option<Slow>,
    /// Number of passwords that are in plain text.
    plain: usize,
}

#[derive(Debug)]
enum Stored {
    Plain(String),
    Hashed(Slow),
}

/// The result of a check that takes no time, or a check that is still to be made.
#[derive(Debug)]
pub(crate) enum Check {
    /// Whether the password is right.
    Done(bool),
    /// A hash must be computed, which should be done on another thread.
    Slow(Slow),
}

/// A password check that takes a while.
#[derive(Clone)]
pub(crate) struct Slow {
    hash: Arc<Hash>,
    is_known: bool,
}

impl Slow {
    /// Returns whether this is the right password.
    pub(crate) fn fits(&self, password: &[u8]) -> bool {
        self.hash.fits(password) && self.is_known
    }
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slow").finish_non_exhaustive()
    }
}

impl Users {
    /// Reads lines `NAME:PASSWORD`, as written by `mosquitto_passwd`. Logs a warning for passwords in plain text.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut users = Self::new();
        lines::read(path, |_, line| users.add(line))?;
        if users.plain != 0 {
            let (file, count) = (path.display(), users.plain);
            warn!(%file, count, "passwords are in plain text; `mosquitto_passwd -U` replaces them by hashes");
        }
        Ok(users)
    }

    fn new() -> Self {
        Self { passwords: HashMap::new(), decoy: None, plain: 0 }
    }

    pub(crate) fn add(&mut self, line: &str) -> Result<()> {
        let Some((name, password)) = line.split_once(':') else { bail!("no colon: it has to be NAME:PASSWORD") };
        if name.is_empty() {
            bail!("an empty user name");
        }
        let password = match Password::parse(password)? {
            Password::Plain(password) => Stored::Plain(password),
            Password::Hashed(hash) => Stored::Hashed(Slow { hash: Arc::new(hash), is_known: true }),
        };
        match &password {
            Stored::Plain(_) => self.plain += 1,
            Stored::Hashed(slow)
                if self.decoy.as_ref().is_none_or(|decoy| decoy.hash.iterations() < slow.hash.iterations()) =>
            {
                self.decoy = Some(Slow { hash: Arc::new(slow.hash.decoy()), is_known: false });
            }
            Stored::Hashed(_) => {}
        }
        match self.passwords.entry(name.to_owned()) {
            Entry::Occupied(_) => bail!("the user {name:?} is there twice"),
            Entry::Vacant(entry) => entry.insert(password),
        };
        Ok(())
    }

    /// Checks the password of a user. The time does not depend on which byte is wrong, nor, if all passwords are hashed
    /// with the same number of iterations, on whether the user exists.
    pub(crate) fn check(&self, name: &str, password: &[u8]) -> Check {
        match (self.passwords.get(name), &self.decoy) {
            (Some(Stored::Plain(plain)), _) => Check::Done(bool::from(plain.as_bytes().ct_eq(password))),
            (Some(Stored::Hashed(slow)), _) | (None, Some(slow)) => Check::Slow(slow.clone()),
            (None, None) => Check::Done(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Users> {
        let mut users = Users::new();
        lines::parse("users", bytes, |_, line| users.add(line))?;
        Ok(users)
    }

    fn lets_in(users: &Users, name: &str, password: &str) -> bool {
        match users.check(name, password.as_bytes()) {
            Check::Done(is_right) => is_right,
            Check::Slow(slow) => slow.fits(password.as_bytes()),
        }
    }

    #[test]
    fn only_the_right_password_lets_in() {
        let users = parse(b"\xef\xbb\xbf# people\nann:secret\r\n\nbob:a:b\neve:$5 note\n").unwrap();
        assert_eq!(users.plain, 3);
        for (name, password, expected) in [
            ("ann", "secret", true),
            ("ann", "Secret", false),
            ("ann", "", false),
            ("ann", "secrets", false),
            ("bob", "a:b", true),
            ("eve", "$5 note", true),
            ("zoe", "", false),
        ] {
            assert_eq!(lets_in(&users, name, password), expected, "{name} {password}");
        }
    }

    /// The file was made by mosquitto_passwd 2.0.11: `-b passwd ann secret`, and `-H sha512 -b passwd bob 'größer als'`.
    #[test]
    fn a_file_of_mosquitto_passwd_is_read() {
        let users = parse(include_bytes!("../testdata/passwd")).unwrap();
        assert_eq!(users.plain, 0);
        for (name, password, expected) in [
            ("ann", "secret", true),
            ("ann", "Secret", false),
            ("ann", "", false),
            ("bob", "größer als", true),
            ("bob", "secret", false),
            ("zoe", "secret", false),
        ] {
            assert_eq!(lets_in(&users, name, password), expected, "{name} {password}");
            assert!(matches!(users.check(name, b""), Check::Slow(_)), "{name}: it takes as long");
        }
        let zero = parse(format!("ann:$6$AAAA${}==\n", "A".repeat(86)).as_bytes()).unwrap();
        let decoy = zero.decoy.clone().unwrap();
        assert!(!decoy.is_known && decoy.hash.iterations() == 1);
    }

    #[test]
    fn an_invalid_line_is_an_error_with_its_number() {
        let hash = "A".repeat(86) + "==";
        for (line, why) in [
            ("ann", "no colon"),
            (":secret", "an empty user name"),
            ("ann:", "an empty password"),
            ("bob:other", "the user \"bob\" is there twice"),
            ("ann:$7$101$AAAA", "a hash without salt"),
            ("ann:$7$AAAA", "a hash without salt"),
            (&format!("ann:$7$0$AAAA${hash}"), "the number of iterations"),
            (&format!("ann:$7$4294967295$AAAA${hash}"), "the number of iterations"),
            (&format!("ann:$7$x$AAAA${hash}"), "the number of iterations"),
            (&format!("ann:$7$101$A$${hash}"), "the salt is not in base64"),
            (&format!("ann:$6$${hash}"), "the salt is not in base64"),
            ("ann:$6$AAAA$AAAA", "the hash has 3 bytes"),
            ("ann:$6$AAAA$A", "the hash is not in base64"),
            ("ann:$argon2id$v=19$m=1$AAAA$AAAA", "a password hash of the unknown kind $argon2id$"),
        ] {
            let error = parse(format!("# people\nbob:secret\n{line}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("users:3: {why}")), "{line}: {error}");
        }
        assert_eq!(parse(b"ann:secret\nb\xffb:x").unwrap_err().to_string(), "users:2: not UTF-8");
    }
}
