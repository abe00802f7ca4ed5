//! The counters that a broker publishes under `$SYS`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use mqtt_sansio::codec::PacketType;

use crate::innocent;
use crate::packets::{self, ConnectOptions, Received};
use crate::stage::Stage;

/// A time a little longer than the interval at which the brokers publish.
const INTERVAL: Duration = Duration::from_millis(1500);

/// Parts of the topics of both brokers that count refused or dropped work.
const REFUSED: [&str; 5] = ["dropped", "refused", "timed out", "clients/expired", "clients/taken over"];

/// The values under `$SYS/broker/`, by the rest of their topics.
#[derive(Debug, Default)]
pub(crate) struct Counters(BTreeMap<String, String>);

impl Counters {
    /// Reads the counters after the broker has published them anew. Missing counters are left out.
    pub(crate) fn read(stage: &Stage) -> Self {
        let mut counters = Self::default();
        let _ = counters.fill(stage);
        counters
    }

    fn fill(&mut self, stage: &Stage) -> Result<()> {
        let mut socket = innocent::open(stage, INTERVAL)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        socket.write_all(&ConnectOptions::new("observer").packet()?)?;
        socket.write_all(&packets::subscribe(1, &["$SYS/#"], 0, 0)?)?;
        let begin = Instant::now();
        let mut input = Vec::new();
        let mut last_new = None;
        while begin.elapsed() < INTERVAL {
            let mut buffer = [0; 4096];
            match socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => input.extend_from_slice(&buffer[..count]),
                // The burst of publications is complete.
                Err(_) if last_new.is_some() => break,
                Err(_) => {}
            }
            let mut rest = &input[..];
            while let Some(packet) = Received::take(&mut rest) {
                if packet.is(PacketType::Publish)
                    && let Some((topic, _, payload)) = packet.publish()
                {
                    let topic = String::from_utf8_lossy(topic);
                    let name = topic.strip_prefix("$SYS/broker/").unwrap_or(&topic);
                    self.0.insert(name.to_owned(), String::from_utf8_lossy(payload).into_owned());
                    if packet.first & 1 == 0 {
                        last_new = Some(Instant::now()); // not retained: it was published just now
                    }
                }
            }
            input.drain(..input.len() - rest.len());
        }
        Ok(())
    }

    /// Returns the counters of dropped messages and refused packets, as a text.
    pub(crate) fn refusals(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let is_total = name.contains("load/") || name == "publish/messages/dropped" && self.has_reasons();
            if REFUSED.iter().any(|it| name.contains(it)) && value != "0" && !is_total {
                let name = name.trim_start_matches("publish/").trim_start_matches("messages/");
                let _ = write!(text, "{value} {}, ", name.replace('/', " "));
            }
        }
        text.truncate(text.len().saturating_sub(2));
        text
    }

    /// Returns whether the broker counts dropped messages by reason.
    fn has_reasons(&self) -> bool {
        self.0.keys().any(|name| name.starts_with("publish/messages/dropped/"))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
