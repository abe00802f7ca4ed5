//! Every statement of MQTT 3.1.1 and 5.0, and the tests and test vectors that show it.
//!
//! The statements are in `statements.tsv`. A test cites the statements that it shows in its documentation, with their
//! version: `[3.1.1: MQTT-3.1.2-24; 5.0: MQTT-3.1.2-22]`. A test vector cites them in its member `statements`.
//! [`Index::read`] collects both, and [`report`] makes `CONFORMANCE.md` of them.

mod citation;
mod index;
mod records;
pub mod report;
mod sources;
mod statements;
mod tokens;
mod vectors;

pub use self::index::{Index, Shown};
pub use self::records::{Table, Violation};
pub use self::sources::Test;
pub use self::statements::{Kind, Statement, Statements, Version};
