//! The subscribers of a channel, in the order of their connections.
//!
//! A removed subscriber leaves an empty place. The empty places are removed when they are at least half of all places.
//! If each removal moved all later subscribers, it would take long for the clients of a large channel to leave
//! together.

/// The number of a connection, and the serial number of its subscription.
pub(super) type SubscriberKey = (u64, u64);

/// Subscribers in the order of their keys.
#[derive(Debug)]
pub(super) struct SubscriberList<S> {
    places: Vec<SubscriberPlace<S>>,
    /// Number of empty places: 0, or less than half of all places.
    empty: usize,
}

/// A subscriber, or the empty place of a removed one.
#[derive(Debug)]
struct SubscriberPlace<S> {
    key: SubscriberKey,
    subscriber: Option<S>,
}

impl<S> Default for SubscriberList<S> {
    fn default() -> Self {
        Self { places: Vec::new(), empty: 0 }
    }
}

impl<S> SubscriberList<S> {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.empty
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a subscriber. The caller uses each key only once.
    pub(super) fn insert(&mut self, key: SubscriberKey, subscriber: S) {
        let index = self.places.partition_point(|place| place.key < key);
        if self.places.is_empty() {
            // Most channels of users have only one subscriber.
            self.places.reserve_exact(1);
        }
        self.places.insert(index, SubscriberPlace { key, subscriber: Some(subscriber) });
    }

    pub(super) fn get_mut(&mut self, key: SubscriberKey) -> Option<&mut S> {
        let index = self.find(key)?;
        self.places[index].subscriber.as_mut()
    }

    /// Removes and returns a subscriber, or returns `None` if the list does not have it.
    pub(super) fn remove(&mut self, key: SubscriberKey) -> Option<S> {
        let index = self.find(key)?;
        let removed = self.places[index].subscriber.take()?;
        self.empty += 1;
        self.tidy();
        Some(removed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &S> {
        self.places.iter().filter_map(|place| place.subscriber.as_ref())
    }

    /// Removes the subscribers for which `keeps` returns `false`. `keeps` gets the serial number of the subscription.
    pub(super) fn retain_mut(&mut self, mut keeps: impl FnMut(u64, &mut S) -> bool) {
        for SubscriberPlace { key: (_, serial), subscriber } in &mut self.places {
            if subscriber.as_mut().is_some_and(|present| !keeps(*serial, present)) {
                *subscriber = None;
                self.empty += 1;
            }
        }
        self.tidy();
    }

    fn find(&self, key: SubscriberKey) -> Option<usize> {
        self.places.binary_search_by_key(&key, |place| place.key).ok()
    }

    /// Removes the empty places if they are at least half of all places.
    fn tidy(&mut self) {
        if self.empty * 2 < self.places.len() || self.empty == 0 {
            return;
        }
        self.places.retain(|place| place.subscriber.is_some());
        self.empty = 0;
        if self.places.is_empty() {
            self.places = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_keep_their_order_while_others_are_removed() {
        let mut list = SubscriberList::default();
        for number in [3, 1, 2, 5, 4, 6] {
            list.insert((number, 0), number);
        }
        let all = |list: &SubscriberList<u64>| list.iter().copied().collect::<Vec<_>>();
        assert_eq!(all(&list), [1, 2, 3, 4, 5, 6]);
        for (number, left) in [(2, vec![1, 3, 4, 5, 6]), (1, vec![3, 4, 5, 6]), (6, vec![3, 4, 5])] {
            assert_eq!(list.remove((number, 0)), Some(number));
            assert_eq!((list.remove((number, 0)), list.get_mut((number, 0))), (None, None));
            assert_eq!((all(&list), list.len()), (left.clone(), left.len()), "{number}");
        }
        list.insert((7, 0), 7);
        assert_eq!(list.get_mut((4, 0)), Some(&mut 4));
        list.retain_mut(|_, number| *number == 7);
        assert_eq!((all(&list), list.is_empty()), (vec![7], false));
        assert_eq!(list.remove((7, 0)), Some(7));
        assert!(list.is_empty() && list.places.capacity() == 0);
    }
}
