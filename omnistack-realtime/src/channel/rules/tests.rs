use std::sync::atomic::{AtomicBool, Ordering};

use omnistack_core::{
    http::StatusCode,
    identity::{TenantId, UserId},
    realtime::RealtimeChannel,
};
use serde_json::{json, value::RawValue};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn user(number: u8) -> UserId {
    format!("0190a7c8-0000-7000-8000-0000000000{number:02x}").parse().unwrap()
}

fn tenant(number: u8) -> TenantId {
    format!("0190a7c8-0000-7000-9000-0000000000{number:02x}").parse().unwrap()
}

fn member(number: u8) -> Identity {
    Identity::user(user(number)).for_tenant(tenant(1))
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

async fn allows(channels: &Channels, caller: &Identity, name: &str, action: ChannelAction) -> Option<bool> {
    Some(channels.resolve(caller, name)?.check(caller, action).await.unwrap())
}

#[test]
fn a_part_in_braces_stands_for_characters_other_than_separators() {
    for (pattern, name, id) in [
        ("room:{id}", "room:42", Some("42")),
        ("room:{id}", "room:a-b_c.d", Some("a-b_c.d")),
        ("room:{id}", "room:", None),
        ("room:{id}", "room:1:2", None),
        ("room:{id}", "room:1/2", None),
        ("room:{id}", "rooms:1", None),
        ("room:{id}", "xroom:1", None),
        ("room:{id}", "ROOM:1", None),
        ("doc:{id}/comments", "doc:7/comments", Some("7")),
        ("doc:{id}/comments", "doc:/comments", None),
        ("doc:{id}/comments", "doc:7/comments/comments", None),
        ("doc:{id}/comments", "doc:7/commentsx", None),
        ("a{id}a", "aa", None),
        ("a{id}a", "aaa", Some("a")),
        ("{id}", "lobby", Some("lobby")),
        ("{id}", "room:1", None),
        ("lobby", "lobby", Some("")),
        ("lobby", "lobby2", None),
        ("lobby", "lob", None),
    ] {
        assert_eq!(ChannelPattern::parse(pattern).unwrap().id(name), id, "{pattern} {name}");
    }
}

#[test]
fn mistakes_in_rules_are_problems_of_the_build() {
    for (rule, what) in [
        (ChannelRule::new(""), "the channel pattern `` is wrong: it is no name of a channel"),
        (ChannelRule::new("a b"), "the channel pattern `a b` is wrong: it is no name of a channel"),
        (ChannelRule::new("room:*"), "the channel pattern `room:*` is wrong: it is no name of a channel"),
        (ChannelRule::new("room:{id"), "the channel pattern `room:{id` is wrong: its brace is not closed"),
        (ChannelRule::new("room:id}"), "the channel pattern `room:id}` is wrong: it is no name of a channel"),
        (ChannelRule::new("room:{}"), "the channel pattern `room:{}` is wrong: the part in braces has no name"),
        (ChannelRule::new("{a b}"), "the channel pattern `{a b}` is wrong: the part in braces has no name"),
        (ChannelRule::new("{a}:{b}"), "the channel pattern `{a}:{b}` is wrong: it has more than one part in braces"),
        (ChannelRule::new("a}{b}"), "the channel pattern `a}{b}` is wrong: it can't match the name of a channel"),
        (ChannelRule::new("é{b}"), "the channel pattern `é{b}` is wrong: it can't match the name of a channel"),
        (ChannelRule::new("tenant"), "the channels of the rule `tenant` are built in"),
        (ChannelRule::new("broadcast"), "the channels of the rule `broadcast` are built in"),
        (ChannelRule::new("operators"), "the channels of the rule `operators` are built in"),
        (ChannelRule::new("user:{id}"), "the channels of the rule `user:{id}` are built in"),
        (ChannelRule::new("user:admin"), "the channels of the rule `user:admin` are built in"),
        (
            ChannelRule::new("a").history(10_001, DAY),
            "the history of the channel rule `a` is too large, too long or too short",
        ),
        (
            ChannelRule::new("a").history(1, Duration::ZERO),
            "the history of the channel rule `a` is too large, too long or too short",
        ),
        (
            ChannelRule::new("a").history(1, 31 * DAY),
            "the history of the channel rule `a` is too large, too long or too short",
        ),
        (
            ChannelRule::new("a").on_publish(|_, _, data| Ok(data)),
            "no client can publish by the rule `a`, so its `on_publish` is not called",
        ),
    ] {
        let problems: Vec<String> = Channels::new().rule(rule).problems().into_iter().map(|found| found.what).collect();
        assert_eq!(problems, [what]);
    }
    let channels = Channels::new().allow("room:{id}", |_, _| true).allow("room:{room}", |_, _| true);
    let [problem]: [catalogue::ChannelProblem; 1] = channels.problems().try_into().unwrap();
    assert_eq!(problem.what, "the channel rules `room:{id}` and `room:{room}` have the same channels");
    for rule in [
        ChannelRule::new("a").without_history(),
        ChannelRule::new("a").history(0, Duration::ZERO),
        ChannelRule::new("a").history(10_000, 30 * DAY),
        ChannelRule::new("tenants"),
        ChannelRule::new("tenant:{id}"),
        ChannelRule::new("users:{id}"),
        ChannelRule::new("{id}"),
        ChannelRule::new("a").publish(|_, _| true).on_publish(|_, _, data| Ok(data)),
    ] {
        let problems = Channels::new().rule(rule).problems();
        assert!(problems.is_empty(), "{problems:?}");
    }
}

#[tokio::test]
async fn built_in_channels_are_for_their_callers() {
    let channels = Channels::default();
    let (one, two, guest) = (member(1), member(2), Identity::user(user(1)));
    let (program, operator) = (member(1).into_service_account(), member(1).with_impersonator(user(2)));
    let (staff, acting) = (guest.clone().into_operator(), guest.clone().with_impersonator(user(2)));
    let own = format!("user:{}", user(1));
    let upper = own.to_uppercase().replace("USER", "user");
    let simple = format!("user:{}", user(1).uuid().simple());
    for (caller, name, expected) in [
        (&one, own.as_str(), Some(true)),
        (&guest, own.as_str(), Some(true)),
        (&two, own.as_str(), Some(false)),
        (&program, own.as_str(), Some(false)),
        (&operator, own.as_str(), Some(false)),
        (&operator, "tenant", Some(true)),
        (&one, upper.as_str(), None),
        (&one, simple.as_str(), None),
        (&one, "user:", None),
        (&one, "user:*", None),
        (&one, "tenant", Some(true)),
        (&program, "tenant", Some(true)),
        (&guest, "tenant", None),
        (&one, "broadcast", Some(true)),
        (&guest, "broadcast", Some(true)),
        (&staff, "operators", Some(true)),
        (&one, "operators", Some(false)),
        (&guest, "operators", Some(false)),
        (&program, "operators", Some(false)),
        (&acting, "operators", Some(false)),
        (&one, "room:1", None),
        (&one, "", None),
        (&one, "Tenant", None),
        (&one, "broadcast ", None),
    ] {
        for action in [ChannelAction::Subscribe, ChannelAction::History, ChannelAction::Presence] {
            assert_eq!(allows(&channels, caller, name, action).await, expected, "{name} {action:?}");
        }
        let publish = allows(&channels, caller, name, ChannelAction::Publish).await;
        assert_eq!(publish, expected.map(|_| false), "{name}");
    }
}

#[test]
fn channels_of_an_app_belong_to_the_tenant() {
    let channels = Channels::new().allow("room:{id}", |_, _| true).allow("{id}", |_, _| true);
    let key = |caller: &Identity, name: &str| channels.resolve(caller, name).map(|channel| channel.key.to_string());
    let (here, there) = (member(1), Identity::user(user(1)).for_tenant(tenant(2)));
    let of_tenant = |number, name: &str| Some(format!("{}/{name}", tenant(number).uuid().simple()));
    let own = format!("user:{}", user(1));
    for (caller, name, expected) in [
        (&here, "room:1", of_tenant(1, "room:1")),
        (&there, "room:1", of_tenant(2, "room:1")),
        (&Identity::user(user(1)), "room:1", None),
        (&here, "tenant", of_tenant(1, "tenant")),
        (&here, "broadcast", Some("-/broadcast".to_owned())),
        (&here, "operators", Some("-/operators".to_owned())),
        (&there, own.as_str(), Some(format!("-/{own}"))),
        (&here, "-/broadcast", None),
        (&here, "..", of_tenant(1, "..")),
        (&here, "room:1\n", None),
        (&here, "room:{id}", None),
    ] {
        assert_eq!(key(caller, name), expected, "{name}");
    }
    assert_eq!(key(&here, &"a".repeat(255)), of_tenant(1, &"a".repeat(255)));
    assert_eq!(key(&here, &"a".repeat(256)), None);
}

#[tokio::test]
async fn a_rule_refuses_what_it_does_not_allow() {
    use ChannelAction::{History, Presence, Publish, Subscribe};
    let channels = Channels::new()
        .rule(ChannelRule::new("closed:{id}"))
        .allow("read:{id}", |caller, id| caller.user == user(1) && id == "7")
        .rule(ChannelRule::new("write:{id}").publish(|_, id| id == "7"))
        .rule(ChannelRule::new("both:{id}").subscribe(|_, _| true).publish(|_, _| true))
        .allow("both:{room}", |_, _| false);
    for (name, number, action, expected) in [
        ("closed:7", 1, Subscribe, false),
        ("closed:7", 1, Publish, false),
        ("closed:7", 1, History, false),
        ("read:7", 1, Subscribe, true),
        ("read:7", 1, History, true),
        ("read:7", 1, Presence, true),
        ("read:7", 1, Publish, false),
        ("read:7", 2, Subscribe, false),
        ("read:8", 1, History, false),
        ("write:7", 1, Publish, true),
        ("write:7", 1, Subscribe, false),
        ("write:7", 1, Presence, false),
        ("both:7", 1, Subscribe, true),
        ("both:7", 1, Publish, true),
    ] {
        assert_eq!(allows(&channels, &member(number), name, action).await, Some(expected), "{name} {action:?}");
    }
}

/// A rule that lets user 1 read and publish in the channel `a`, and fails for the channel `broken`.
struct Lookup;

#[async_trait]
impl ChannelAccess for Lookup {
    async fn allows(&self, caller: &Identity, id: &str, action: ChannelAction) -> Result<bool, Error> {
        match id {
            "broken" => Err(Error::unavailable("DATABASE_UNAVAILABLE", "the database is away")),
            id => Ok(id == "a" && caller.user == user(1) && action != ChannelAction::Presence),
        }
    }
}

#[tokio::test]
async fn a_lookup_is_asked_for_each_action() {
    use ChannelAction::{History, Presence, Publish, Subscribe};
    let channels = Channels::new()
        .rule(ChannelRule::new("read:{id}").subscribe_if(Lookup))
        .rule(ChannelRule::new("write:{id}").publish_if(Lookup));
    for (name, number, action, expected) in [
        ("read:a", 1, Subscribe, true),
        ("read:a", 1, History, true),
        ("read:a", 1, Presence, false),
        ("read:a", 1, Publish, false),
        ("read:a", 2, Subscribe, false),
        ("read:b", 1, Subscribe, false),
        ("write:a", 1, Publish, true),
        ("write:a", 1, Subscribe, false),
    ] {
        assert_eq!(allows(&channels, &member(number), name, action).await, Some(expected), "{name} {action:?}");
    }
    let broken = channels.resolve(&member(1), "read:broken").unwrap();
    let error = broken.check(&member(1), Subscribe).await.unwrap_err();
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_hook_checks_and_changes_what_clients_publish() {
    static CALLED: AtomicBool = AtomicBool::new(false);
    let channels = Channels::new().rule(ChannelRule::new("plain:{id}").publish(|_, _| true)).rule(
        ChannelRule::new("room:{id}").publish(|_, _| true).on_publish(|caller, id, data| {
            CALLED.store(true, Ordering::Relaxed);
            let text = data["text"].as_str().ok_or("send a text")?;
            Ok(json!({ "room": id, "author": caller.user, "text": text }))
        }),
    );
    let (caller, deep) = (member(1), format!("{}{}", "[".repeat(1000), "]".repeat(1000)));
    let plain = channels.resolve(&caller, "plain:1").unwrap();
    for data in [r#"{ "a" : 1.50 }"#, "null", deep.as_str(), "1e999"] {
        assert_eq!(plain.on_publish(&caller, raw(data)).unwrap().get(), data);
    }
    assert!(!CALLED.load(Ordering::Relaxed));
    let room = channels.resolve(&caller, "room:1").unwrap();
    let published = room.on_publish(&caller, raw(r#"{"text":"hello","author":"another"}"#)).unwrap();
    let published: Value = serde_json::from_str(published.get()).unwrap();
    assert_eq!(published, json!({ "room": "1", "author": user(1), "text": "hello" }));
    for data in ["null", "[]", r#"{"text":1}"#] {
        assert_eq!(room.on_publish(&caller, raw(data)).unwrap_err(), "send a text");
    }
    for data in [deep.as_str(), "1e999"] {
        let message = room.on_publish(&caller, raw(data)).unwrap_err();
        assert!(message.starts_with("the data can't be read: "), "{message}");
    }
}

#[test]
fn options_are_those_of_the_rule_for_clients_and_the_app() {
    let channels = Channels::new()
        .rule(ChannelRule::new("room:{id}").history(100, DAY).join_leave())
        .rule(ChannelRule::new("job:{id}").latest_value())
        .rule(ChannelRule::new("typing:{id}").without_history().presence());
    let default = ChannelOptions::default();
    let room = ChannelOptions { history_size: 100, history_ttl: DAY, presence: true, join_leave: true, ..default };
    let job = ChannelOptions { history_size: 1, latest_value: true, ..default };
    let typing = ChannelOptions { history_size: 0, presence: true, ..default };
    let own = format!("user:{}", user(1));
    for (name, channel, expected) in [
        ("room:1", RealtimeChannel::of_tenant(tenant(1), "room:1").unwrap(), &room),
        ("job:1", RealtimeChannel::of_tenant(tenant(1), "job:1").unwrap(), &job),
        ("typing:1", RealtimeChannel::of_tenant(tenant(1), "typing:1").unwrap(), &typing),
        ("tenant", RealtimeChannel::tenant(tenant(1)), &default),
        ("broadcast", RealtimeChannel::broadcast(), &default),
        ("operators", RealtimeChannel::operators(), &default),
        (own.as_str(), RealtimeChannel::user(user(1)), &default),
    ] {
        assert_eq!(channels.options_of(&channel).as_ref(), Some(expected), "{name}");
        assert_eq!(channels.resolve(&member(1), name).unwrap().options, *expected, "{name}");
    }
    let other = RealtimeChannel::of_tenant(tenant(1), "other").unwrap();
    assert_eq!(channels.options_of(&other), None);
    assert!(channels.resolve(&member(1), "other").is_none());
}

#[test]
fn the_last_call_for_the_history_applies() {
    let rule = || ChannelRule::new("a");
    for (rule, size, is_latest) in [
        (rule().latest_value().history(5, DAY), 5, false),
        (rule().latest_value().without_history(), 0, false),
        (rule().without_history().latest_value(), 1, true),
        (rule().history(5, DAY).latest_value(), 1, true),
    ] {
        assert_eq!((rule.options.history_size, rule.options.latest_value), (size, is_latest));
    }
}

#[test]
fn the_table_says_who_may_do_what() {
    let channels = Channels::new()
        .rule(ChannelRule::new("room:{id}").subscribe(|_, _| true).publish_if(Lookup).history(9, DAY).join_leave())
        .rule(ChannelRule::new("typing:{id}").without_history());
    let rows: Vec<_> = channels.table().iter().map(|row| serde_json::to_value(row).unwrap()).collect();
    let built_in = |pattern: &str, callers: &str| {
        json!({
            "pattern": pattern, "subscribe": callers, "publish": "no client", "history_size": 300,
            "history_seconds": 86_400, "latest_value": false, "presence": false, "join_leave": false,
        })
    };
    assert_eq!(
        rows,
        [
            built_in("user:{id}", "the user"),
            built_in("tenant", "members of the tenant"),
            built_in("broadcast", "signed-in users"),
            built_in("operators", "operators"),
            json!({
                "pattern": "room:{id}", "subscribe": "rule of the app", "publish": "lookup of the app",
                "history_size": 9, "history_seconds": 86_400, "latest_value": false, "presence": true,
                "join_leave": true,
            }),
            json!({
                "pattern": "typing:{id}", "subscribe": "no client", "publish": "no client", "history_size": 0,
                "history_seconds": 0, "latest_value": false, "presence": false, "join_leave": false,
            }),
        ]
    );
}
