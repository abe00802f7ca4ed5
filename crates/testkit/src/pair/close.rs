//! Ends of connections.

use bytes::Buf;
use mqtt_sansio::client::ClientSession;
use mqtt_sansio::store::Pairs;

use super::{Pair, Server};
use crate::link::{Reconnect, Way};

impl<S: Server> Pair<S> {
    /// Cuts the link: bytes on their way are lost.
    pub(super) fn cut_now(&mut self) {
        self.poll_to_the_end();
        if self.client_is_open && self.random.percent(50) {
            // The bytes leave the client and do not arrive.
            let all = self.client.transmit().remaining();
            let count = self.random.index(all + 1);
            self.write_client(count);
        }
        self.receive_to_the_end();
        if S::IS_CHECKED && self.server_is_open && self.random.percent(50) {
            let all = self.server.transmit().remaining();
            let count = self.random.index(all + 1);
            self.write_server(count);
        }
        self.link.lose(Way::ToClient);
        self.link.lose(Way::ToServer);
        self.client_closed();
        self.server_cut();
    }

    pub(super) fn crash_now(&mut self) {
        self.link.lose(Way::ToClient);
        self.link.lose(Way::ToServer);
        self.at_client.clear();
        self.polls_again = false;
        self.client_closed();
        self.receive_to_the_end();
        self.server_cut();
        let config = self.client.config().clone();
        // Batches that are not confirmed may be stored, up to any of them.
        self.under_way.truncate(self.random.index(self.under_way.len() + 1));
        self.under_way.drain(..).for_each(|batch| self.stored.apply(&batch));
        let restored = ClientSession::restore(config, self.now(), self.stored.iter());
        self.client = restored.unwrap_or_else(|error| panic!("the session cannot be restored: {error}"));
        self.rules.flows.lose_sight();
        // Some stores are replaced by a snapshot.
        if self.random.percent(50)
            && let Some(snapshot) = self.client.snapshot()
        {
            self.stored = Pairs::default();
            self.stored.apply(&snapshot);
            self.client.committed(self.now, snapshot.number());
        }
    }

    pub(super) fn client_closed(&mut self) {
        if core::mem::take(&mut self.client_is_open) {
            self.client.closed(self.now);
            self.client.assert_consistent();
            self.rules.closed();
            self.log.closed();
            self.is_closing = false;
            self.has_closed();
        }
    }

    pub(super) fn server_closed(&mut self) {
        let was_open = core::mem::take(&mut self.server_is_open);
        if was_open || core::mem::take(&mut self.has_overlooked) {
            self.server.closed(self.now);
            self.server.assert_consistent();
            self.server_rules.closed();
            self.receives_again = false;
            if was_open {
                self.has_closed();
            }
        }
    }

    /// The connection is lost. The server may not notice.
    fn server_cut(&mut self) {
        if self.server_is_open && self.random.percent(self.overlooks) {
            self.server_is_open = false;
            self.has_overlooked = true;
            self.at_server.clear();
            self.has_closed();
        } else {
            self.server_closed();
        }
    }

    fn has_closed(&mut self) {
        if self.client_is_open || self.server_is_open {
            return;
        }
        self.opens_at = match self.reconnect {
            Reconnect::Never => None,
            Reconnect::AtOnce => Some(self.now),
            Reconnect::Backoff => Some(self.now + self.client.backoff()),
        };
        self.link.lose(Way::ToClient);
        self.link.lose(Way::ToServer);
    }
}
