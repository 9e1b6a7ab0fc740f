//! The clients that are present in a channel.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::protocol::{ClientInfo, PresenceStatsResult};

/// The presence of a channel.
#[derive(Default)]
pub(super) struct MemoryPresence {
    /// The users of the clients, and until when they are present.
    clients: HashMap<String, (String, Duration)>,
    deadlines: BTreeSet<(Duration, String)>,
    /// Numbers of clients.
    users: HashMap<String, u32>,
    /// Whether joins and leaves are told.
    pub(super) tells: bool,
}

impl MemoryPresence {
    /// Adds a client or extends its time. Returns whether it is the first of its user.
    pub(super) fn keep(&mut self, info: &ClientInfo, until: Duration) -> bool {
        if let Some((_, before)) = self.clients.get_mut(&info.client) {
            let mut deadline = (*before, info.client.clone());
            *before = until;
            self.deadlines.remove(&deadline);
            deadline.0 = until;
            self.deadlines.insert(deadline);
            return false;
        }
        self.clients.insert(info.client.clone(), (info.user.clone(), until));
        self.deadlines.insert((until, info.client.clone()));
        let clients = self.users.entry(info.user.clone()).or_default();
        *clients += 1;
        *clients == 1
    }

    /// Removes a client. Returns it if it was the last of its user.
    pub(super) fn remove(&mut self, client: &str) -> Option<ClientInfo> {
        let (client, (user, until)) = self.clients.remove_entry(client)?;
        let deadline = (until, client);
        self.deadlines.remove(&deadline);
        let clients = self.users.get_mut(&user)?;
        *clients -= 1;
        if *clients > 0 {
            return None;
        }
        self.users.remove(&user);
        Some(ClientInfo { user, client: deadline.1 })
    }

    /// Removes the clients whose time is over. Returns those that were the last of their users.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<ClientInfo> {
        let mut gone = Vec::new();
        while let Some((until, client)) = self.deadlines.first() {
            if *until > now {
                break;
            }
            let client = client.clone();
            gone.extend(self.remove(&client));
        }
        gone
    }

    /// Returns the clients, at most `limit`.
    pub(super) fn clients(&self, limit: usize) -> Vec<ClientInfo> {
        let info = |(client, (user, _)): (&String, &(String, Duration))| ClientInfo {
            user: user.clone(),
            client: client.clone(),
        };
        self.clients.iter().take(limit).map(info).collect()
    }

    /// Returns the numbers of clients and users.
    pub(super) fn stats(&self) -> PresenceStatsResult {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        PresenceStatsResult { num_clients: count(self.clients.len()), num_users: count(self.users.len()) }
    }

    /// Returns whether a client is present.
    pub(super) fn is_used(&self, now: Duration) -> bool {
        self.deadlines.last().is_some_and(|(until, _)| *until > now)
    }
}
