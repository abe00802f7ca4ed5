//! Who is let in.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use subtle::ConstantTimeEq;

/// Users and their passwords.
pub(crate) struct Users(HashMap<String, String>);

impl Users {
    /// Reads lines `NAME:PASSWORD`. Empty ones and those that begin with `#` mean nothing.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut users = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, password)) = line.split_once(':') else { bail!("line {}: no colon", number + 1) };
            users.insert(name.to_owned(), password.to_owned());
        }
        Ok(Self(users))
    }

    /// Whether this is the password of a user. It takes as long whichever byte is wrong.
    pub(crate) fn lets_in(&self, name: &str, password: &[u8]) -> bool {
        let known = self.0.get(name);
        let is_right = known.map_or("", String::as_str).as_bytes().ct_eq(password);
        known.is_some() && bool::from(is_right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_lets_in() {
        let users = Users::parse("# people\nann:secret\n\nbob:a:b\neve:\n").unwrap();
        for (name, password, expected) in [
            ("ann", "secret", true),
            ("ann", "Secret", false),
            ("ann", "", false),
            ("ann", "secrets", false),
            ("bob", "a:b", true),
            ("eve", "", true),
            ("zoe", "", false),
        ] {
            assert_eq!(users.lets_in(name, password.as_bytes()), expected, "{name} {password}");
        }
        assert!(Users::parse("ann").is_err());
    }
}
