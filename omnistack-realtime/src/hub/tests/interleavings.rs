//! A property test: for any order of publications, deliveries, losses, subscriptions and ends of replicas, a client
//! gets each message once and in order, or is told that it has missed some.

use proptest::prelude::*;
use tokio::{runtime::Builder, task::JoinHandle};

use super::{
    fake_engine::{FAKE_CHANNEL, FakeEngine},
    *,
};
use crate::protocol::StreamPosition;

/// A step of an interleaving.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish,
    /// Delivers the next message to a replica.
    Deliver(usize),
    /// Loses the next message to a replica.
    Lose(usize),
    /// Loses the history.
    Flush,
    /// Loses the end of the history.
    GoBack,
    /// The client subscribes, from its position if it has one. Its history is read, and held back until `Release`.
    Subscribe(usize),
    Release,
    /// A client loses its connection and opens another, to a replica.
    Reconnect(usize, usize),
    Unsubscribe(usize),
    /// A replica ends. Its clients connect to the other one, and a new replica takes its place.
    Die(usize),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Publish),
        9 => (0..2_usize).prop_map(Step::Deliver),
        1 => (0..2_usize).prop_map(Step::Lose),
        1 => Just(Step::Flush),
        1 => Just(Step::GoBack),
        5 => (0..2_usize).prop_map(Step::Subscribe),
        4 => Just(Step::Release),
        1 => (0..2_usize, 0..2_usize).prop_map(|(client, replica)| Step::Reconnect(client, replica)),
        1 => (0..2_usize).prop_map(Step::Unsubscribe),
        1 => (0..2_usize).prop_map(Step::Die),
        2 => Just(Step::Tick),
    ]
}

/// A client that checks all that it gets.
struct CheckingClient {
    /// `None` while a command is under way.
    client: Option<TestClient>,
    task: Option<JoinHandle<TestClient>>,
    position: Option<StreamPosition>,
    is_subscribed: bool,
    received: Vec<u64>,
}

impl CheckingClient {
    async fn open(test: &TestHub, token: &str) -> Self {
        let client = Some(test.connect(token).await);
        Self { client, task: None, position: None, is_subscribed: false, received: Vec::new() }
    }

    async fn reconnect(&mut self, test: &TestHub, token: &str) {
        if let Some(task) = self.task.take() {
            task.abort();
            _ = task.await;
        }
        self.client = Some(test.connect(token).await);
        self.is_subscribed = false;
    }

    fn subscribe(&mut self) {
        if self.is_subscribed {
            return;
        }
        let Some(mut client) = self.client.take() else { return };
        let position = self.position.clone();
        self.task = Some(tokio::spawn(async move {
            let mut parameters = json!({ "channel": FAKE_CHANNEL });
            if let Some(StreamPosition { offset, epoch }) = position {
                parameters["recover"] = json!(true);
                parameters["offset"] = json!(offset);
                parameters["epoch"] = json!(epoch);
            }
            // The reply remains among the lines, in its order.
            let command = json!({ "id": 1_000_000, "subscribe": parameters });
            client.session.handle(&command.to_string()).await.unwrap();
            client
        }));
    }

    async fn unsubscribe(&mut self) {
        let Some(client) = self.client.as_mut().filter(|_| self.is_subscribed) else { return };
        let command = json!({ "id": 1_000_001, "unsubscribe": { "channel": FAKE_CHANNEL } });
        client.session.handle(&command.to_string()).await.unwrap();
        self.check();
        self.is_subscribed = false;
    }

    /// Takes the client back from a command that has ended, and checks what it has got.
    async fn collect(&mut self) {
        if self.task.as_ref().is_some_and(JoinHandle::is_finished) {
            self.client = Some(self.task.take().unwrap().await.unwrap());
        }
        self.check();
    }

    fn check(&mut self) {
        let Some(client) = &mut self.client else { return };
        let lines = client.rest();
        assert_eq!(client.closed, None);
        for line in lines {
            if line["id"] == 1_000_000 {
                self.check_subscription(&line["subscribe"]);
            } else if line["push"]["pub"].is_object() {
                assert!(self.is_subscribed, "{line}");
                self.check_message(&line["push"]["pub"]);
            } else if line["push"]["unsubscribe"].is_object() {
                assert!(self.is_subscribed && line["push"]["unsubscribe"]["code"] == 2500, "{line}");
                self.is_subscribed = false;
            }
        }
    }

    fn check_subscription(&mut self, result: &Value) {
        assert!(result.is_object() && !self.is_subscribed, "{result}");
        self.is_subscribed = true;
        let publications = result["publications"].as_array().cloned().unwrap_or_default();
        let epoch = result["epoch"].as_str().unwrap().to_owned();
        let offset = result["offset"].as_u64().unwrap_or_default();
        if result["recovered"] == true {
            assert_eq!(self.position.as_ref().unwrap().epoch, epoch);
            for publication in &publications {
                self.check_message(publication);
            }
            assert_eq!(self.position.as_ref().unwrap().offset, offset);
        } else {
            // The client is told, or it is new.
            assert_eq!(result["was_recovering"].as_bool().unwrap_or_default(), self.position.is_some());
            assert!(publications.is_empty());
            self.position = Some(StreamPosition { offset, epoch });
        }
    }

    fn check_message(&mut self, publication: &Value) {
        let position = self.position.as_mut().unwrap();
        assert_eq!(publication["offset"].as_u64(), Some(position.offset + 1));
        position.offset += 1;
        self.received.push(publication["data"].as_u64().unwrap());
    }
}

/// A replica with its engine.
struct FakeReplica {
    engine: Arc<FakeEngine>,
    test: TestHub,
}

impl FakeReplica {
    fn start(engine: Arc<FakeEngine>, clock: &MockClock) -> Self {
        let settings = [("REALTIME_POSITION_CHECK", "1s"), ("REALTIME_PING", "5m"), ("REALTIME_RECOVERY_LIMIT", "5")];
        let test = TestHub::with_engine(engine.clone(), clock, &settings);
        Self { engine, test }
    }
}

/// Lets a second pass in all replicas.
async fn tick(replicas: &[FakeReplica; 2], clock: &MockClock) {
    clock.advance(Duration::from_secs(1));
    for replica in replicas {
        replica.test.hub.tick(clock.clock().now()).await;
    }
    settle().await;
}

async fn run(steps: Vec<Step>) {
    let clock = start_of_2030();
    let first = FakeEngine::start();
    let second = first.replica();
    let mut replicas = [first, second].map(|engine| FakeReplica::start(engine, &clock));
    let tokens = ["alice", "bob"];
    let mut clients = [
        CheckingClient::open(&replicas[0].test, tokens[0]).await,
        CheckingClient::open(&replicas[1].test, tokens[1]).await,
    ];
    // The replica of each client.
    let mut places = [0, 1];
    let mut published = 0_u64;
    for step in steps {
        match step {
            Step::Publish => {
                published += 1;
                replicas[0].test.publish(FAKE_CHANNEL, json!(published)).await;
            }
            Step::Deliver(replica) => _ = replicas[replica].engine.deliver_next(),
            Step::Lose(replica) => replicas[replica].engine.lose(),
            Step::Flush => replicas[0].engine.flush(),
            Step::GoBack => replicas[0].engine.go_back(),
            Step::Subscribe(index) => {
                replicas[places[index]].engine.hold();
                clients[index].subscribe();
            }
            Step::Release => replicas.iter().for_each(|replica| replica.engine.release()),
            Step::Reconnect(index, replica) => {
                places[index] = replica;
                clients[index].reconnect(&replicas[replica].test, tokens[index]).await;
            }
            Step::Unsubscribe(index) => clients[index].unsubscribe().await,
            Step::Die(dying) => {
                let other = 1 - dying;
                for (index, client) in clients.iter_mut().enumerate().filter(|(index, _)| places[*index] == dying) {
                    client.reconnect(&replicas[other].test, tokens[index]).await;
                }
                places = [other; 2];
                replicas[dying] = FakeReplica::start(replicas[other].engine.replica(), &clock);
            }
            Step::Tick => {
                // Position checks read the history too.
                for replica in &replicas {
                    replica.engine.release();
                }
                tick(&replicas, &clock).await;
            }
        }
        settle().await;
        for client in &mut clients {
            client.collect().await;
        }
    }

    // When all is quiet, the clients that subscribe again have all messages.
    for replica in &replicas {
        replica.engine.release();
        replica.engine.deliver();
    }
    for _ in 0..8 {
        settle().await;
        for _ in 0..2 {
            tick(&replicas, &clock).await;
        }
        for client in &mut clients {
            client.collect().await;
            client.subscribe();
        }
    }
    settle().await;
    for client in &mut clients {
        client.collect().await;
        assert!(client.is_subscribed);
        assert_eq!(client.position, Some(replicas[0].engine.position()));
        assert!(client.received.is_sorted_by(|one, next| one < next), "{:?}", client.received);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn messages_come_once_in_order_or_the_client_is_told(steps in prop::collection::vec(step(), 0..60)) {
        Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
