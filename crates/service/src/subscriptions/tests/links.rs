//! Links: how they come with appends, become durable and go, in whatever order the outcomes of commits arrive.

use super::*;

#[tokio::test]
async fn a_stream_that_comes_back_is_discovered_again() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    for round in 1..=3 {
        world.create("events/a").await;
        for _ in 0..2 {
            world.answer_next(answer(200, r#"{"done":true}"#));
            world.append("events/a").await;
        }
        assert_eq!(world.received().len(), 2 * round);
        assert_eq!(world.send("DELETE", "events/a", "", "").await.0, StatusCode::NO_CONTENT);
        run_tasks().await;
        assert_eq!(world.links_in_store().await, 0);
    }
}

#[tokio::test]
async fn appends_that_overlap_confirm_the_link_that_the_first_of_them_made() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.store.hold();
    let mut first = Box::pin(world.send("POST", "events/a", "", "1"));
    assert!(waits(&mut first));
    world.store.release().await;
    // Another one is queued before the outcome of the first arrives, and its own outcome never does.
    world.store.hold();
    let mut second = Box::pin(world.send("POST", "events/a", "", "1"));
    assert!(waits(&mut second));
    assert_eq!(first.await.0, StatusCode::NO_CONTENT);
    world.store.release().await;
    run_tasks().await;
    let wake = world.received()[0].clone();
    let tail = &wake["streams"][0]["tail_offset"];
    let (status, body) = world.report("callback", &wake, Some(tail), true).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(second.await.0, StatusCode::NO_CONTENT);
    run_tasks().await;
    assert_eq!(generations(&world.received()), [1, 2]);
    world.crash().await;
    assert_eq!(world.subscription("s").await["streams"][0]["acked_offset"], *tail);
}

#[tokio::test]
async fn a_later_append_that_fails_takes_no_link_away_that_is_durable() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.store.hold();
    let mut first = Box::pin(world.send("POST", "events/a", "", "1"));
    assert!(waits(&mut first));
    world.store.release().await;
    world.store.fail_next_commit(StoreError::Full);
    // Its failure arrives before the first one's success.
    assert_eq!(world.send("POST", "events/a", "", "1").await.0, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(first.await.0, StatusCode::NO_CONTENT);
    run_tasks().await;
    assert_eq!(generations(&world.received()), [1]);
    world.append("events/a").await;
    let described = world.subscription("s").await["streams"][0].clone();
    assert!(described["acked_offset"].as_str().unwrap().ends_with("_0000000000000000"), "{described}");
}

#[tokio::test]
async fn an_append_while_links_are_written_by_name_takes_none_of_them_back() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.store.hold();
    let streams = "__ds/subscriptions/s/streams";
    let mut linking = Box::pin(world.send("POST", streams, "", r#"{"streams":["events/a","events/b"]}"#));
    while world.store.held() == 0 {
        assert!(waits(&mut linking));
        tokio::task::yield_now().await;
    }
    world.store.release().await;
    world.store.fail_next_commit(StoreError::Full);
    assert_eq!(world.send("POST", "events/a", "", "1").await.0, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(linking.await.0, StatusCode::NO_CONTENT);
    let described = world.subscription("s").await["streams"].clone();
    assert_eq!(described.as_array().unwrap().len(), 2, "{described}");
    assert!(described.as_array().unwrap().iter().all(|link| link["link_type"] == "explicit"), "{described}");
}

#[tokio::test]
async fn links_by_name_that_could_not_be_written_are_as_they_were() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    let before = world.subscription("s").await["streams"].clone();
    world.store.fail_next_commit(StoreError::Full);
    let streams = "__ds/subscriptions/s/streams";
    let (status, _) = world.send("POST", streams, "", r#"{"streams":["events/a","other"]}"#).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(world.subscription("s").await["streams"], before);
    let wake = world.received()[0].clone();
    let tail = &wake["streams"][0]["tail_offset"];
    assert_eq!(world.report("callback", &wake, Some(tail), true).await.0, StatusCode::OK);
}

#[tokio::test]
async fn room_that_becomes_free_is_used() {
    let mut config = Config::default();
    config.subscriptions.links_max = 1;
    let world = World::with(config).await;
    world.subscribe("s", WEBHOOK).await;
    for name in ["events/a", "events/b", "events/b"] {
        world.send("PUT", name, "", "").await;
        world.append(name).await;
    }
    assert_eq!(world.subscription("s").await["streams"][0]["path"], "events/a");
    assert_eq!(world.send("DELETE", "events/a", "", "").await.0, StatusCode::NO_CONTENT);
    world.append("events/b").await;
    assert_eq!(world.subscription("s").await["streams"][0]["path"], "events/b");
    assert_eq!(world.send("DELETE", "__ds/subscriptions/s", "", "").await.0, StatusCode::NO_CONTENT);
    world.subscribe("t", &WEBHOOK.replace("events/*", "others/*")).await;
    world.create("others/a").await;
    world.append("others/a").await;
    assert_eq!(world.subscription("t").await["streams"][0]["path"], "others/a");
}
