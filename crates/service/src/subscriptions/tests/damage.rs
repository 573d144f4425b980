//! Documents that can't be read: they cost what they belong to, and nothing else.

use headwater_protocol::subscription::Serial;
use headwater_store::{Commit, Edit};

use super::*;

impl World {
    /// Overwrites the first document whose key has a prefix.
    async fn spoil(&self, prefix: &str) -> Box<str> {
        let (key, _) = self.store.documents(prefix, None, 1).await.unwrap().remove(0);
        let value = Some(Bytes::from_static(b"{}}"));
        let edits = vec![Edit::Document { key: key.clone(), value }];
        self.store.commit(Commit::new(edits)).await.unwrap();
        key
    }
}

#[tokio::test]
async fn a_damaged_stream_wakes_nobody_and_the_others_do() {
    let mut world = World::quiet(Config::default()).await;
    world.subscribe("s", WEBHOOK).await;
    for name in ["events/a", "events/b"] {
        world.create(name).await;
        world.append(name).await;
    }
    world.store.fail_next_read(StoreError::damaged("a head"));
    world.crash().await;
    let received = world.received();
    assert_eq!((received.len(), &received[0]["streams"][0]["path"]), (1, &json!("events/b")));
}

#[tokio::test]
async fn a_store_that_could_not_read_for_a_while_is_asked_again() {
    let mut world = World::quiet(Config::default()).await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    for _ in 0..2 {
        world.store.fail_next_read(StoreError::failed("busy"));
    }
    world.crash().await;
    world.advance(1_000).await;
    assert!(world.received().is_empty());
    world.advance(1_000).await;
    assert_eq!(generations(&world.received()), [1]);
}

#[tokio::test]
async fn a_subscription_that_makes_no_sense_is_left_out_and_keeps_its_links() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.subscribe("t", &WEBHOOK.replace("events", "others")).await;
    for name in ["events/a", "others/a"] {
        world.create(name).await;
        world.append(name).await;
    }
    let key = world.spoil(stored::SUBSCRIPTION_PREFIX).await;
    world.crash().await;
    assert_eq!(world.send("GET", "__ds/subscriptions/s", "", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.links_in_store().await, 2);
    world.advance(10_000).await;
    assert_eq!(world.received()[0]["subscription_id"], "t");
    assert!(stored::decode_subscription_key(&key).unwrap() > Serial::new(0));
}

#[tokio::test]
async fn a_link_that_makes_no_sense_begins_anew() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.answer_next(answer(200, r#"{"done":true}"#));
    world.append("events/a").await;
    world.spoil(stored::LINK_PREFIX).await;
    world.crash().await;
    let received = world.received();
    assert_eq!(generations(&received), [2]);
    let stream = &received[0]["streams"][0];
    assert!(stream["acked_offset"].as_str().unwrap().ends_with("_0000000000000000"), "{stream}");
}
