//! Group commit: items that arrive at the same time are stored in one transaction, which waits for the disk once.

use std::{
    collections::VecDeque,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

/// Number of batches that are stored at once: one is prepared while another waits for the disk.
const MAX_TASKS: usize = 2;

/// A queue of items of concurrent callers, which are stored in batches. Each caller gets the output of its item. Cheap
/// to clone.
///
/// Nothing waits for a batch to fill: an item that arrives alone is stored at once. While two batches are being stored,
/// further items wait, and are the next batch.
///
/// ```
/// use omnistack_core::db::{GroupCommit, GroupCommitError, Submission};
///
/// /// Stores lines in one transaction. The output of a line is its length.
/// async fn store(batch: Vec<Submission<String, usize>>) {
///     // … begin a transaction, insert all lines, commit …
///     for line in batch {
///         let length = line.item.len();
///         line.answer(length);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), GroupCommitError> {
/// let lines: GroupCommit<String, usize> = GroupCommit::new(100);
/// assert_eq!(lines.submit("a line".to_owned(), 1, store).await?, 6);
/// # Ok(())
/// # }
/// ```
pub struct GroupCommit<I, O> {
    queue: Arc<Mutex<CommitQueue<I, O>>>,
    batch_weight: usize,
    max_waiting: usize,
}

/// An item to store, and the caller that waits for its output. If it is dropped without an answer, the caller gets
/// [`GroupCommitError::Ended`].
pub struct Submission<I, O> {
    /// The item.
    pub item: I,
    weight: usize,
    caller: oneshot::Sender<O>,
}

/// The reason why an item has no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupCommitError {
    /// Too many items wait. This one was not taken.
    #[error("too many items wait to be stored")]
    Full,
    /// The batch of the item ended without an answer, for example by a panic. The item may be stored.
    #[error("the task that stores items has ended")]
    Ended,
}

struct CommitQueue<I, O> {
    waiting: VecDeque<Submission<I, O>>,
    /// Sum of the weights of `waiting`.
    weight: usize,
    /// Number of tasks that store batches.
    tasks: usize,
}

impl<I, O> Submission<I, O> {
    /// Gives the caller the output of its item. A caller that has been dropped gets nothing.
    pub fn answer(self, output: O) {
        _ = self.caller.send(output);
    }
}

impl<I: Send + 'static, O: Send + 'static> GroupCommit<I, O> {
    /// Creates a group commit whose batches take no further item once the weights of their items add up to
    /// `batch_weight`. Any number of items may wait.
    pub fn new(batch_weight: usize) -> Self {
        let queue = CommitQueue { waiting: VecDeque::new(), weight: 0, tasks: 0 };
        Self { queue: Arc::new(Mutex::new(queue)), batch_weight, max_waiting: usize::MAX }
    }

    /// Limits the sum of the weights of the items that wait.
    #[must_use]
    pub fn max_waiting(mut self, weight: usize) -> Self {
        self.max_waiting = weight;
        self
    }

    /// Stores an item, and returns its output. All callers pass the same function as `store`, because the item can be
    /// in a batch that was started for another caller. Batches are stored in tasks of their own: a caller that is
    /// dropped ends no batch, and its item is stored all the same.
    ///
    /// # Errors
    /// [`GroupCommitError::Full`] if the limit of [`max_waiting`](Self::max_waiting) is reached;
    /// [`GroupCommitError::Ended`] if `store` panics or drops the item.
    pub async fn submit<F, S>(&self, item: I, weight: usize, store: F) -> Result<O, GroupCommitError>
    where
        F: Fn(Vec<Submission<I, O>>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (caller, output) = oneshot::channel();
        let starts = {
            let mut queue = self.queue();
            let all = queue.weight.checked_add(weight).filter(|all| *all <= self.max_waiting);
            queue.weight = all.ok_or(GroupCommitError::Full)?;
            queue.waiting.push_back(Submission { item, weight, caller });
            let starts = queue.tasks < MAX_TASKS;
            queue.tasks += usize::from(starts);
            starts
        };
        if starts {
            tokio::spawn(self.clone().run(store));
        }
        output.await.map_err(|_| GroupCommitError::Ended)
    }

    /// Stores what waits, until nothing does.
    async fn run<F, S>(self, store: F)
    where
        F: Fn(Vec<Submission<I, O>>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        while let Some(batch) = self.next_batch() {
            // A panic drops the batch, which tells its callers. The task goes on, because other items wait for it.
            _ = AssertUnwindSafe(async { store(batch).await }).catch_unwind().await;
        }
    }

    /// Takes the next batch. Counts the end of the task and returns `None` if nothing waits.
    fn next_batch(&self) -> Option<Vec<Submission<I, O>>> {
        let mut queue = self.queue();
        let (mut batch, mut weight) = (Vec::new(), 0);
        while (batch.is_empty() || weight < self.batch_weight)
            && let Some(next) = queue.waiting.pop_front()
        {
            weight += next.weight;
            batch.push(next);
        }
        queue.weight -= weight;
        if batch.is_empty() {
            // With the lock held, so that an item that comes now starts a task.
            queue.tasks -= 1;
            return None;
        }
        Some(batch)
    }

    fn queue(&self) -> MutexGuard<'_, CommitQueue<I, O>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O> Clone for GroupCommit<I, O> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), ..*self }
    }
}

impl<I, O> fmt::Debug for GroupCommit<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("GroupCommit");
        shown.field("batch_weight", &self.batch_weight).field("max_waiting", &self.max_waiting).finish_non_exhaustive()
    }
}

impl<I: fmt::Debug, O> fmt::Debug for Submission<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").field("item", &self.item).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join_all, ready};

    use super::*;

    /// An item that the store panics about.
    const UNLUCKY: u32 = 13;

    /// A group commit of numbers, whose outputs are ten times as large, and the batches that it has stored.
    #[derive(Clone)]
    struct Numbers {
        commits: GroupCommit<u32, u32>,
        batches: Arc<Mutex<Vec<Vec<u32>>>>,
    }

    impl Numbers {
        fn new(commits: GroupCommit<u32, u32>) -> Self {
            Self { commits, batches: Arc::default() }
        }

        async fn submit(&self, number: u32, weight: usize) -> Result<u32, GroupCommitError> {
            let numbers = self.clone();
            let store = move |batch| {
                numbers.store(batch);
                ready(())
            };
            self.commits.submit(number, weight, store).await
        }

        async fn submit_all(&self, numbers: &[u32]) -> Vec<Result<u32, GroupCommitError>> {
            join_all(numbers.iter().map(|number| self.submit(*number, 1))).await
        }

        fn store(&self, batch: Vec<Submission<u32, u32>>) {
            let numbers: Vec<u32> = batch.iter().map(|number| number.item).collect();
            assert!(!numbers.contains(&UNLUCKY), "on purpose");
            self.batches.lock().unwrap().push(numbers);
            // In reverse order: each answer goes to its own caller.
            for number in batch.into_iter().rev() {
                let output = number.item * 10;
                number.answer(output);
            }
        }

        fn batches(&self) -> Vec<Vec<u32>> {
            self.batches.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn each_caller_gets_the_output_of_its_item() {
        let numbers = Numbers::new(GroupCommit::new(3));
        assert_eq!(numbers.submit(9, 1).await, Ok(90), "an item that arrives alone waits for no other");
        assert_eq!(numbers.submit_all(&[1, 2, 3, 4, 5]).await, [Ok(10), Ok(20), Ok(30), Ok(40), Ok(50)]);
        assert_eq!(numbers.batches(), [vec![9], vec![1, 2, 3], vec![4, 5]]);
    }

    #[tokio::test]
    async fn weights_limit_a_batch() {
        let numbers = Numbers::new(GroupCommit::new(10));
        let weights = [(1, 9), (2, 50), (3, 50), (4, 1)];
        join_all(weights.map(|(number, weight)| numbers.submit(number, weight))).await;
        assert_eq!(numbers.batches(), [vec![1, 2], vec![3], vec![4]]);
    }

    #[tokio::test]
    async fn a_panic_fails_its_batch_alone() {
        let numbers = Numbers::new(GroupCommit::new(1));
        let ended = Err(GroupCommitError::Ended);
        let outputs = numbers.submit_all(&[UNLUCKY, UNLUCKY, 1, UNLUCKY, 2]).await;
        assert_eq!(outputs, [ended, ended, Ok(10), ended, Ok(20)]);
        assert_eq!(numbers.submit(3, 1).await, Ok(30));
    }

    #[tokio::test]
    async fn too_many_items_are_not_taken() {
        let numbers = Numbers::new(GroupCommit::new(10).max_waiting(3));
        let weights = [(1, 2), (2, 2), (3, 1), (4, usize::MAX)];
        let outputs = join_all(weights.map(|(number, weight)| numbers.submit(number, weight))).await;
        assert_eq!(outputs, [Ok(10), Err(GroupCommitError::Full), Ok(30), Err(GroupCommitError::Full)]);
        assert_eq!(numbers.submit(2, 2).await, Ok(20), "the others wait no longer");
        assert_eq!(numbers.batches(), [vec![1, 3], vec![2]]);
    }

    #[tokio::test]
    async fn a_caller_that_is_dropped_stops_no_other() {
        let numbers = Numbers::new(GroupCommit::new(10));
        assert_eq!(numbers.submit(1, 1).now_or_never(), None, "the caller waits when it is dropped");
        assert_eq!(numbers.submit(2, 1).await, Ok(20));
        assert_eq!(numbers.batches(), [vec![1, 2]]);
    }
}
