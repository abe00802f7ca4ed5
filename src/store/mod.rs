//! State that must survive a crash: batches of changes to keys and values, and their byte form for a file.
//!
//! A durable session, and a durable broker, report the changes of their state as batches. The caller stores each batch
//! atomically, in a database or in a file, and then confirms it; what acknowledgements promise is stored before they are
//! sent:
//!
//! ```
//! # use mqtt_sansio::client::{ClientConfig, ClientSession};
//! # use mqtt_sansio::store::Pairs;
//! # use mqtt_sansio::{Instant, Message, QoS};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let (now, config) = (Instant::from_micros(1), ClientConfig { durable: true, ..ClientConfig::default() });
//! # let mut store = Pairs::default();
//! let mut client = ClientSession::restore(config, now, store.iter())?; // all pairs, in the order of their keys
//! client.publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
//! if let Some(batch) = client.changes() {
//!     store.apply(&batch); // one transaction
//!     client.committed(now, batch.number());
//! }
//! # assert_eq!(ClientSession::restore(client.config().clone(), now, store.iter())?.queued(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! A store has to have an atomic batch, durability in the order of the batches, and iteration in the order of the keys.
//! A batch that could not be stored is stored again, unchanged, or the session is dropped: there is no way back.
//!
//! # What waits for what
//!
//! This holds for a session; [`broker`](crate::broker#what-survives-a-crash) says what holds for a broker.
//!
//! | packet | waits |
//! |---|---|
//! | CONNACK of a server, with all that follows it | until the session is stored as connected |
//! | SUBACK, UNSUBACK, PUBACK and PUBREC with success | for the batch that is open when the packet is made: the application stores with it what the packet acknowledges |
//! | PUBREL, PUBCOMP, PUBLISH of QoS 2 | for the last batch in which the session has changed |
//! | PUBLISH of QoS 1 | only behind a PUBLISH that waits, because messages are sent again in the order in which they were sent \[MQTT-4.6.0-1\] |
//! | PUBLISH of QoS 0, PINGREQ, PINGRESP, AUTH, DISCONNECT, CONNECT, SUBSCRIBE, UNSUBSCRIBE, refusals | no |
//!
//! Packets that wait keep their order. What waits when the connection ends is dropped: nothing of it was ever said.
//!
//! # The promise
//!
//! A message of QoS 2 is delivered once, whatever crashes and whenever, if both sessions are durable and outlive their
//! connections, if the server has granted QoS 2, and if the application stores the effect of the message in the same
//! transaction as the batch; of several batches in a row, in one transaction with all of them. An application with a store of its own uses manual acknowledgements, and acknowledges a
//! message when its effect is stored: it may see the message a second time after a crash. A message of QoS 1 is delivered
//! at least once. A session that ends with its connection, and its will, are not stored.
//!
//! A [`Token`](crate::Token) is durable once the batch that follows its command is stored.
//!
//! # Stores
//!
//! - A database with transactions (SQLite, redb, LMDB): one table of keys and values; a batch is one transaction, with
//!   the application's own changes in it.
//! - A database with write batches (RocksDB, fjall): a batch is one write batch, written with synchronisation.
//! - A file: [`Batch::to_bytes`] is appended and synchronised; [`batches`] reads it. When the file is long, a new one begins
//!   with a snapshot, is synchronised, and is renamed over the old one; then the directory is synchronised.
//! - Several sessions in one store: each has its own prefix before its keys, and its own batches.
//!
//! After an error of a store nothing may be tried again on the same file: the system may have dropped what it could not
//! write. Open the store again, and restore the session from it.
//!
//! # Keys
//!
//! A key has at most 32 bytes: a byte for the kind, and big-endian numbers. It contains nothing that a peer has chosen,
//! and no number is used again. A value has at most 64 KiB. It ends with the CRC-32 of the key and the value before it.
//!
//! | kind | numbers | value |
//! |---|---|---|
//! | `00` | | the version of the format |
//! | `01` | | the time and the number of the last batch |
//! | `02` | counter (1): tokens, messages, sessions | a number above all numbers that were used, in steps of 1,024 |
//! | `10` | message (8) | the time and the lifetime of a message, and the message, as a PUBLISH of 5.0 with QoS 0 |
//! | `11` | message (8), part (4) | a part of a message that has no room in one value |
//! | `18` | message (8) | a retained message: QoS, and the client identifier of its publisher |
//! | `20` | session (8) | a session: version, expiry, the user who has begun it, the mount point of the client, client identifier, whether it has ended |
//! | `21` | session (8), message (8) | a will of a session: QoS, RETAIN, delay, beside the message with this number |
//! | `22` | session (8), subscription (8) | a subscription of a session: options, subscription identifier, filter, number of the group that shares it, and while retained messages are still to be sent for it the number (8) that those are below |
//! | `23` | session (8), packet identifier (2) | a received message of QoS 2 that is not released |
//! | `24` | session (8), delivery (8) | a message on its way to the peer of a session: QoS, packet identifier, stage, the group by which it came |
//!
//! A session of a client or of a server stores only itself, as session 0; its messages and deliveries have the number of
//! their [`Token`](crate::Token). It has neither retained messages nor subscriptions.
//!
//! A broker counts its sessions from 1, and its messages. Deliveries refer to messages by number, and a message that goes to
//! many sessions is stored once. The head of a message is put last, with all that its publication changes: in one batch with
//! the retained message, the packet identifier with which it was received, and the removal of the will that it was. A
//! delivery before that means nothing. The number of a subscription follows from its filter.
//!
//! No counts are stored. A part or a delivery without its message, a message that nothing refers to, and everything below a
//! session that has no record, but for wills that are on their way to their subscribers, are ignored when a session or a
//! broker is restored, and removed by the next batches. So a session ends with the removal of its record, however much is
//! stored of it. A session that may have messages by shared subscriptions ends in two steps: its record says that it has ended,
//! and is removed when other members of the groups have got these messages, each in one batch with its removal here.
//!
//! # Bytes
//!
//! [`Batch::to_bytes`] is the form of a batch in a file: the magic bytes `MQb1`, the number of the batch (8), the length
//! of the body (4), the CRC-32 of these 16 bytes, the body, and the CRC-32 of all bytes before it. Integers are
//! big-endian. [`batches`] reads a file of batches.
//!
//! The body is a sequence of changes: a byte with the length of the key, with the highest bit set if the key is removed, and
//! the next one if it has had no value before; the key; and unless the key is removed, the length of the value (4) and the value.

mod batch;
mod change_log;
mod checksum;
mod error;
mod fields;
mod file;
mod key;
mod open_batch;
mod pairs;

pub use self::batch::{Batch, Change, Changes};
pub use self::error::{RestoreError, RestoreErrorKind};
pub use self::file::{Batches, Damage, DamageKind, batches};
pub use self::pairs::Pairs;
pub(crate) use self::{
    change_log::{ChangeLog, content_of},
    fields::{Fields, put_bytes},
    key::{Counter, Key, Kind},
};

/// Maximum size of the content of a value, in bytes: a value has at most 64 KiB, and ends with a checksum. What is larger
/// is stored in parts.
pub(crate) const MAX_CONTENT: usize = 64 * 1024 - 4;

/// The version of the format of keys and values.
pub(crate) const FORMAT: u8 = 1;
