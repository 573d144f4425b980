//! Bounds on requests and webhooks that continue although nothing waits for them.

use super::*;

/// A client that sends a request and waits for the status.
fn client(world: &World, method: &'static str, path: &str, body: String) -> JoinHandle<StatusCode> {
    let (service, path) = (world.service.clone(), format!("__ds/subscriptions/{path}"));
    tokio::spawn(async move { request(&service, method, &path, "", &body).await.head.status })
}

#[tokio::test]
async fn requests_whose_clients_are_gone_are_bounded_and_make_room_when_they_are_done() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.store.hold();
    for _ in 0..super::super::requests::PERMITS {
        let client = client(&world, "DELETE", "s", String::new());
        tokio::task::yield_now().await;
        client.abort();
    }
    run_tasks().await;
    let refused = client(&world, "DELETE", "s", String::new());
    run_tasks().await;
    assert!(refused.is_finished());
    assert_eq!(refused.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    world.subscription("s").await;
    world.store.release().await;
    while world.subscriptions().request_permits.available_permits() < super::super::requests::PERMITS {
        run_tasks().await;
    }
    assert_eq!(client(&world, "DELETE", "s", String::new()).await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn large_requests_count_as_many() {
    let world = World::new().await;
    world.store.hold();
    let large = format!("{WEBHOOK}{}", " ".repeat(1_000_000));
    let waiting: Vec<_> = (0..16).map(|id| client(&world, "PUT", &format!("s{id}"), large.clone())).collect();
    run_tasks().await;
    assert!(waiting.iter().all(|client| !client.is_finished()));
    let refused = client(&world, "PUT", "t", large.clone()).await.unwrap();
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    world.store.release().await;
    for client in waiting {
        assert_eq!(client.await.unwrap(), StatusCode::CREATED);
    }
    assert_eq!(client(&world, "PUT", "t", large).await.unwrap(), StatusCode::CREATED);
}

#[tokio::test]
async fn webhooks_that_wait_for_room_are_not_sent_after_the_service_began_to_drain() {
    let mut config = Config::default();
    config.subscriptions.deliveries_per_target_max = 1;
    let world = World::with(config).await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    for id in ["s1", "s2"] {
        world.subscribe(id, WEBHOOK).await;
    }
    world.create("events/a").await;
    world.append("events/a").await;
    assert_eq!(world.received().len(), 1);
    world.service.drain();
    let waiting = world.hooks.waiting.lock().unwrap().remove(0);
    waiting.send(answer(200, r#"{"done":true}"#)).unwrap();
    run_tasks().await;
    assert_eq!(world.received().len(), 1);
}

#[tokio::test]
async fn targets_that_nobody_sends_to_are_forgotten() {
    let world = World::new().await;
    let body = |id: usize| WEBHOOK.replace("worker.example", &format!("w{id}.example"));
    world.create("events/a").await;
    for id in 0..200 {
        world.subscribe("s", &body(id)).await;
        world.append("events/a").await;
        assert_eq!(world.send("DELETE", "__ds/subscriptions/s", "", "").await.0, StatusCode::NO_CONTENT);
    }
    assert_eq!(world.received().len(), 200);
    let known = world.subscriptions().target_permits.lock().unwrap().len();
    assert!(known < 10, "{known}");
}
