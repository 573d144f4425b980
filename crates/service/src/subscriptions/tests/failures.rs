//! Commits that fail, and requests that overlap.

use super::*;

#[tokio::test]
async fn a_link_is_durable_with_the_append_that_reveals_it_or_not_at_all() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    assert_eq!(world.links_in_store().await, 0);
    world.store.fail_next_commit(StoreError::Full);
    assert_eq!(world.send("POST", "events/a", "", "1").await.0, StatusCode::INSUFFICIENT_STORAGE);
    run_tasks().await;
    assert_eq!(world.subscription("s").await["streams"], json!([]));
    world.append("events/a").await;
    assert_eq!(world.links_in_store().await, 1);
    let revealed = world.received()[0]["streams"][0].clone();
    assert!(revealed["acked_offset"].as_str().unwrap().ends_with("_0000000000000000"), "{revealed}");
    world.crash().await;
    assert_eq!(world.subscription("s").await["streams"][0]["acked_offset"], revealed["acked_offset"]);
}

#[tokio::test]
async fn appends_behind_one_that_fails_keep_the_link_that_it_would_have_made() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.store.hold();
    let (service, store) = (world.service.clone(), world.store.clone());
    let append =
        |service: Service| async move { request(&service, "POST", "events/a", "", "1").await.head.status };
    let first = tokio::spawn(append(service.clone()));
    run_tasks().await;
    let second = tokio::spawn(append(service));
    run_tasks().await;
    store.release_but_first(StoreError::Full).await;
    assert_eq!(first.await.unwrap(), StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(second.await.unwrap(), StatusCode::NO_CONTENT);
    run_tasks().await;
    assert_eq!((world.links_in_store().await, world.received().len()), (1, 1));
    world.crash().await;
    // The worker of before has its lease still.
    world.advance(10_000).await;
    assert_eq!(generations(&world.received()), [2]);
}

#[tokio::test]
async fn an_acknowledgement_that_could_not_be_kept_changes_nothing() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    let wake = world.received()[0].clone();
    let tail = &wake["streams"][0]["tail_offset"];
    world.store.fail_next_commit(StoreError::Full);
    assert_eq!(world.report("callback", &wake, Some(tail), true).await.0, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(
        &world.subscription("s").await["streams"][0]["acked_offset"],
        &wake["streams"][0]["acked_offset"]
    );
    assert_eq!(world.report("callback", &wake, Some(tail), true).await.0, StatusCode::OK);
    assert_eq!(&world.subscription("s").await["streams"][0]["acked_offset"], tail);
}

#[tokio::test]
async fn nothing_of_a_wake_is_sent_before_it_is_durable() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    world.answer_next(answer(200, r#"{"done":true}"#));
    world.advance(10_000).await;
    assert_eq!(world.received().len(), 2);
    let append = world.send("POST", "events/a", "", "1").await;
    assert_eq!(append.0, StatusCode::NO_CONTENT);
    // The append is durable, its wake isn't.
    world.store.hold();
    run_tasks().await;
    assert_eq!((world.received().len(), world.store.held()), (2, 1));
    world.store.release().await;
    run_tasks().await;
    assert_eq!(world.received().len(), 3);
}

#[tokio::test]
async fn what_a_creation_left_behind_is_removed_at_the_next_start() {
    let mut world = World::new().await;
    world.create("events/a").await;
    world.store.fail_next_commit(StoreError::Full);
    assert_eq!(
        world.send("PUT", "__ds/subscriptions/s", "", WEBHOOK).await.0,
        StatusCode::INSUFFICIENT_STORAGE
    );
    assert_eq!(world.send("GET", "__ds/subscriptions/s", "", "").await.0, StatusCode::NOT_FOUND);
    let orphan = headwater_store::Edit::Document {
        key: stored::link_key(
            headwater_protocol::subscription::Serial::new(5),
            &headwater_protocol::path::StreamName::new("events/a").unwrap(),
        ),
        value: Some(Bytes::from_static(br#"{"acked":null}"#)),
    };
    world.store.commit(headwater_store::Commit::new(vec![orphan])).await.unwrap();
    world.crash().await;
    assert_eq!(world.links_in_store().await, 0);
}

#[tokio::test]
async fn no_append_slips_through_while_a_subscription_is_created() {
    for delay in 0..40 {
        let world = World::new().await;
        for stream in 0..5 {
            world.create(&format!("events/{stream}")).await;
        }
        let service = world.service.clone();
        let appending = tokio::spawn(async move {
            for _ in 0..delay {
                tokio::task::yield_now().await;
            }
            for stream in 0..7 {
                let method = if stream < 5 { "POST" } else { "PUT" };
                request(&service, method, &format!("events/{stream}"), "", "1").await;
            }
        });
        world.subscribe("s", WEBHOOK).await;
        appending.await.unwrap();
        run_tasks().await;
        let described = world.subscription("s").await;
        assert_eq!(described["streams"].as_array().unwrap().len(), 7, "{delay}");
        // Whatever was appended after a link was made is pending; what was there before isn't.
        let mut after = world;
        after.crash().await;
        let again = after.subscription("s").await;
        assert_eq!(again["streams"], described["streams"], "{delay}");
        after.append("events/0").await;
        after.advance(10_000).await;
        let last = after.received().pop().unwrap();
        assert_eq!(last["streams"][0]["has_pending"], true);
    }
}

#[tokio::test]
async fn a_wall_clock_set_back_holds_neither_leases_nor_retries() {
    let world = World::new().await;
    world.subscribe("s", PULL).await;
    world.create("wake").await;
    world.create("events/a").await;
    world.append("events/a").await;
    assert_eq!(world.claim("first").await.0, StatusCode::OK);
    world.clock.set_wall_ms(NOW_MS - 3_600_000);
    assert_eq!(world.claim("second").await.0, StatusCode::CONFLICT);
    world.advance(10_000).await;
    assert_eq!(world.claim("second").await.0, StatusCode::OK, "the lease has ended");
}

#[tokio::test]
async fn an_append_between_the_look_at_its_stream_and_the_link_is_pending() {
    let world = World::new().await;
    world.create("events/a").await;
    // Queued before the pattern is there, so that it makes no link itself.
    world.store.hold();
    let service = world.service.clone();
    let appending =
        tokio::spawn(async move { request(&service, "POST", "events/a", "", "1").await.head.status });
    run_tasks().await;
    assert_eq!(world.store.held(), 1);
    world.store.hold_loads();
    let mut creating = Box::pin(world.subscribe("s", WEBHOOK));
    for _ in 0..50 {
        assert!(waits(&mut creating));
        tokio::task::yield_now().await;
    }
    world.store.release().await;
    assert_eq!(appending.await.unwrap(), StatusCode::NO_CONTENT);
    run_tasks().await;
    world.store.release_loads();
    creating.await;
    run_tasks().await;
    let received = world.received();
    assert_eq!(generations(&received), [1]);
    assert_ne!(received[0]["streams"][0]["acked_offset"], received[0]["streams"][0]["tail_offset"]);
}

#[tokio::test]
async fn a_driver_that_panics_delays_the_wakes_of_its_subscription_and_does_not_end_them() {
    let world = World::quiet(Config::default()).await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    let subscriptions = world.subscriptions().clone();
    drop(subscriptions.updated_registry());
    let serial = subscriptions.registry().by_id.values().copied().next().unwrap();
    let driving = subscriptions.try_drive(serial).unwrap();
    assert!(subscriptions.try_drive(serial).is_none(), "it is driven already");
    let driven = tokio::spawn(async move {
        let _driving = driving;
        panic!("a bug");
    });
    assert!(driven.await.unwrap_err().is_panic());
    assert_eq!(subscriptions.registry().next_due(), Some(NOW_MS + 1_000));
    assert!(subscriptions.try_drive(serial).is_some());
}
