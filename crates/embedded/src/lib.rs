#![doc = include_str!("../README.md")]
//!
//! # Tasks
//!
//! [`Client`] has a `RefCell` inside: commands come from the task that polls [`Client::run`], from its handler, or from another
//! task on the same thread. To give commands while a connection runs, join `run` with another future, for instance with
//! `embassy_futures::join`:
//!
//! ```
//! # use embassy_futures::select::select;
//! # use embedded_io_async::{Read, Write};
//! # use mqtt_sansio::Message;
//! # use mqtt_sansio_embedded::{Client, Clock};
//! # async fn sensor() -> f32 { 21.5 }
//! async fn report<C: Clock>(client: &Client<C>, reader: impl Read, writer: impl Write) {
//!     let publish = async {
//!         loop {
//!             let text = format!("{}", sensor().await);
//!             if let Err(error) = client.publish(&Message::new("home/temp", &text)) {
//!                 println!("{error}");
//!             }
//!         }
//!     };
//!     select(client.run(reader, writer, async |action| println!("{action:?}")), publish).await;
//! }
//! ```
//!
//! # Time
//!
//! Time comes from a [`Clock`] that the program implements in a few lines, for instance with `embassy-time`:
//!
//! ```ignore
//! struct Timer;
//!
//! impl Clock for Timer {
//!     fn now(&self) -> Instant {
//!         Instant::from_micros(embassy_time::Instant::now().as_micros())
//!     }
//!
//!     async fn wait_until(&self, at: Instant) {
//!         embassy_time::Timer::at(embassy_time::Instant::from_micros(at.as_micros())).await;
//!     }
//! }
//! ```
//!
//! `DelayNs` of `embedded-hal-async` would not be enough, because a session needs the present time as well, and a dependency on
//! `embassy-time` would bind the program to its time driver.
//!
//! # Memory
//!
//! A connection has a buffer of 256 bytes for each direction, in its future. A received packet is collected on the heap until
//! it is complete: set [`maximum_packet_size`](ClientConfig::maximum_packet_size), whose default of 16 MiB is not for a
//! microcontroller, or have large messages [delivered in parts](ClientConfig::deliver_in_parts). `transmit_limit`,
//! `answer_limit`, `max_stored` and `max_stored_bytes` limit the output and the queue.
//!
//! # Targets
//!
//! Sessions need an allocator and pointers of 32 bits or more. On targets without atomic compare-and-swap, such as
//! `thumbv6m-none-eabi` and `riscv32imc-unknown-none-elf`, enable the feature `portable-atomic`, and choose how
//! [`portable-atomic`](https://docs.rs/portable-atomic) makes atomic operations there: with its feature `critical-section` or
//! `unsafe-assume-single-core`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// No input may cause a panic.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

extern crate alloc;

mod client;
mod clock;
mod end;
mod run;
mod signal;

pub use self::client::Client;
pub use self::clock::Clock;
pub use self::end::End;

#[cfg(doc)]
use mqtt_sansio::client::ClientConfig;
