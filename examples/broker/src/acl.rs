//! Permissions to publish and subscribe.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use mqtt_sansio::{TopicFilter, TopicName};

use crate::lines;

/// An access control list.
#[derive(Default)]
pub(crate) struct Acl {
    everybody: Vec<Rule>,
    anonymous: Vec<Rule>,
    users: HashMap<String, Vec<Rule>>,
}

/// A filter that may be read or written.
struct Rule {
    read: bool,
    write: bool,
    /// Contains `%u` and `%c` for the user name and the client identifier.
    filter: String,
}

/// The client that asks for a permission.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) client: &'a str,
    pub(crate) user: Option<&'a str>,
}

impl Acl {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (mut acl, mut section) = (Self::default(), Section::Everybody);
        lines::read(path, |_, line| acl.add(&mut section, line))?;
        Ok(acl)
    }

    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (mut acl, mut section) = (Self::default(), Section::Everybody);
        lines::parse("acl", text.as_bytes(), |_, line| acl.add(&mut section, line))?;
        Ok(acl)
    }

    fn add(&mut self, section: &mut Section, line: &str) -> Result<()> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()));
        let (read, write) = match (word, rest) {
            ("anonymous", "") => {
                *section = Section::Anonymous;
                return Ok(());
            }
            ("user", name) if !name.is_empty() => {
                *section = Section::User(name.to_owned());
                return Ok(());
            }
            ("read", _) => (true, false),
            ("write", _) => (false, true),
            ("readwrite", _) => (true, true),
            _ => bail!("neither user, anonymous, read, write nor readwrite"),
        };
        if let Err(error) = TopicFilter::new(rest) {
            bail!("{error}");
        }
        let rules = match section {
            Section::Everybody => &mut self.everybody,
            Section::Anonymous => &mut self.anonymous,
            Section::User(name) => self.users.entry(name.clone()).or_default(),
        };
        rules.push(Rule { read, write, filter: rest.to_owned() });
        Ok(())
    }

    /// Returns the user name of a rule that applies to a user only, if there is one.
    pub(crate) fn needs_user(&self) -> Option<&str> {
        let of_everybody = || self.everybody.iter().any(|rule| rule.filter.contains("%u")).then_some("%u");
        self.users.keys().map(String::as_str).min().or_else(of_everybody)
    }

    /// Returns whether a client may publish to a topic.
    pub(crate) fn may_write(&self, who: Who<'_>, topic: TopicName<'_>) -> bool {
        self.rules(who).filter(|rule| rule.write).any(|rule| {
            rule.filter_for(who)
                .is_some_and(|filter| TopicFilter::new(&filter).is_ok_and(|filter| filter.matches(topic)))
        })
    }

    /// Returns whether a client may subscribe to a filter: whether a single readable filter covers it.
    pub(crate) fn may_read(&self, who: Who<'_>, filter: TopicFilter<'_>) -> bool {
        let wanted = filter.without_share();
        self.rules(who)
            .filter(|rule| rule.read)
            .any(|rule| rule.filter_for(who).is_some_and(|filter| covers(&filter, wanted.as_str())))
    }

    fn rules(&self, who: Who<'_>) -> impl Iterator<Item = &Rule> {
        let own = match who.user {
            None => Some(&self.anonymous),
            Some(user) => self.users.get(user),
        };
        self.everybody.iter().chain(own.into_iter().flatten())
    }
}

enum Section {
    Everybody,
    Anonymous,
    User(String),
}

impl Rule {
    /// Returns the filter with the client's names inserted. `None` if a name is missing, or is more than one level.
    fn filter_for(&self, who: Who<'_>) -> Option<String> {
        let is_level = |name: &&str| !name.is_empty() && !name.contains(['/', '+', '#']);
        let mut filter = String::new();
        let mut rest = self.filter.as_str();
        // A single pass, so that a name which looks like a placeholder is not replaced.
        while let Some(place) = rest.find('%') {
            let (before, at) = rest.split_at(place);
            let (text, length) = match at.get(..2) {
                Some("%u") => (who.user.filter(is_level)?, 2),
                Some("%c") => (Some(who.client).filter(is_level)?, 2),
                _ => ("%", 1),
            };
            filter += before;
            filter += text;
            rest = &at[length..];
        }
        filter += rest;
        Some(filter)
    }
}

/// Whether every topic that matches `narrow` matches `wide` too.
fn covers(wide: &str, narrow: &str) -> bool {
    let is_hidden = |filter: &str| filter.starts_with('$');
    let starts_with_wildcard = |filter: &str| filter.starts_with(['+', '#']);
    // A wildcard in the first level does not match topics that begin with `$` [MQTT-4.7.2-1].
    if starts_with_wildcard(wide) && is_hidden(narrow) {
        return false;
    }
    // No topic is empty, so these filters match the same topics, and one more level is compared.
    let narrow = match narrow {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    };
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            // `a/#` matches `a` itself, and any number of further levels.
            (Some("#"), _) | (None, None) => return true,
            (Some(_) | None, Some("#")) | (None, Some(_)) | (Some(_), None) => return false,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(wanted)) if level == wanted => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_another() {
        for (wide, narrow, expected) in [
            ("#", "a/b", true),
            ("#", "#", true),
            ("#", "+/+", true),
            ("+/#", "#", true),
            ("+/+/#", "#", false),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/+", true),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/#", "a/b/#", true),
            ("a/+", "a/#", false),
            ("a/+/#", "a/#", false),
            ("a/+/#", "a/+", true),
            ("a/+", "a/+", true),
            ("a/+", "a/b", true),
            ("a/b", "a/+", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("+", "a", true),
            ("+", "/", false),
            ("/+", "/a", true),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }

    /// Compares the result with the definition for all filters of three levels: a filter covers another one exactly if
    /// it matches all topics that the other one matches. Topics with a fourth level, and with a word that is in no
    /// filter, are needed to tell the filters apart.
    #[test]
    fn a_covered_filter_has_no_other_topics() {
        let up_to = |levels: usize, words: &[&str]| {
            let mut all = Vec::new();
            let mut longest = vec![String::new()];
            for level in 0..levels {
                let slash = if level == 0 { "" } else { "/" };
                let longer = longest.iter().flat_map(|it| words.iter().map(move |word| format!("{it}{slash}{word}")));
                longest = longer.collect();
                all.extend(longest.iter().filter(|it| !it.is_empty()).cloned());
            }
            all
        };
        let topics = up_to(4, &["a", "b", "$", ""]);
        let filters = up_to(3, &["a", "$", "", "+", "#"]);
        let filters: Vec<_> = filters.into_iter().filter(|it| TopicFilter::new(it).is_ok()).collect();
        let topics_of = |filter: &String| {
            let filter = TopicFilter::new(filter).unwrap();
            topics.iter().map(|topic| filter.matches(TopicName::new(topic).unwrap())).collect::<Vec<_>>()
        };
        let fits: Vec<_> = filters.iter().map(topics_of).collect();
        for (wide, of_wide) in filters.iter().zip(&fits) {
            for (narrow, of_narrow) in filters.iter().zip(&fits) {
                let has_all = of_wide.iter().zip(of_narrow).all(|(wide, narrow)| wide >= narrow);
                assert_eq!(covers(wide, narrow), has_all, "{wide} {narrow}");
            }
        }
    }

    #[test]
    fn rules_apply_to_the_section_they_are_in() {
        let acl = "read news/#\nanonymous\nwrite post\nuser ann\nreadwrite home/%u/+\nwrite by/%c\n# nothing more\n";
        let acl = Acl::parse(acl).unwrap();
        let who = |user| Who { client: "c1", user };
        let write = |user, topic| acl.may_write(who(user), TopicName::new(topic).unwrap());
        let read = |user, filter| acl.may_read(who(user), TopicFilter::new(filter).unwrap());
        assert!(read(None, "news/+") && read(Some("ann"), "news/today") && read(Some("bob"), "$share/g/news/#"));
        assert!(!read(None, "#") && !read(None, "home/ann/a") && read(Some("ann"), "home/ann/+"));
        assert!(!read(Some("bob"), "home/ann/a") && !read(Some("bob"), "home/bob/a"));
        assert!(write(None, "post") && !write(Some("ann"), "post") && !write(Some("ann"), "news/today"));
        assert!(write(Some("ann"), "home/ann/a") && write(Some("ann"), "by/c1") && !write(Some("ann"), "by/c2"));
        let odd = Who { client: "+", user: Some("ann") };
        assert!(!acl.may_write(odd, TopicName::new("by/c1").unwrap()), "a name is not a wildcard");
        let acl = Acl::parse("write %u/100%/%c%").unwrap();
        let odd = Who { client: "c1", user: Some("%c") };
        assert!(!acl.may_write(odd, TopicName::new("c1/100%/c1%").unwrap()), "a name is not a placeholder");
        assert!(acl.may_write(odd, TopicName::new("%c/100%/c1%").unwrap()), "any other % is itself");
    }

    #[test]
    fn an_invalid_rule_is_an_error() {
        for text in ["deny a", "read", "read a/#/b", "user", "anonymous x"] {
            let error = Acl::parse(&format!("# rules\n{text}")).err().unwrap();
            assert!(error.to_string().starts_with("acl:2: "), "{text}: {error}");
        }
    }
}
