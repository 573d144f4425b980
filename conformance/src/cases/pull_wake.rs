//! Pull-wake: events that tell of work, and the workers that share it (sections 7.2 and 7.3).

use serde_json::json;

use crate::case::{at_once, cases};
use crate::client::Target;
use crate::subscription::{Subscription, report, stream_of, tail_of};

const LONG: u64 = 600_000;

cases! {
    an_append_writes_one_wake_event: "section 7.2: Wake event shape",
    a_wake_stream_is_the_applications: "section 7.2: MUST be created explicitly by the application",
    a_claim_tells_all_that_a_worker_needs: "section 7.2",
    one_of_many_workers_gets_the_work: "section 7.2: ALREADY_CLAIMED",
    nothing_pending_is_nothing_to_claim: "section 7.2",
    a_claim_names_its_worker: "section 7.2",
    an_ack_with_done_ends_the_lease: "section 7.2",
    an_ack_without_done_is_a_heartbeat: "section 7.2: extends the lease and keeps the worker claim active",
    what_is_left_after_done_is_another_wake: "section 7.2",
    a_release_writes_another_event: "section 7.2: MUST write another wake event",
    stale_acks_and_releases_are_fenced: "section 7.2: Stale release or ack requests MUST return 409 FENCED",
    acks_must_match_token_generation_and_wake: "section 7.3: MUST reject unless all of the following match",
    a_lease_that_ends_is_another_wake: "section 7.3: MUST clear the holder and wake token",
    cursors_never_go_back: "section 7",
    a_stream_that_comes_back_wakes_again: "section 6.2: linked before that append",
    a_deleted_subscription_refuses_its_workers: "section 6.3: MUST fail and MUST NOT advance cursors",
    a_wake_stream_of_the_pattern_does_not_wake_itself: "docs/subscriptions.md: wake streams",
    a_pull_wake_subscription_has_no_callbacks: "section 7.1",
}

fn an_append_writes_one_wake_event(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    let stream = sub.created("a");
    stream.append("[2]");
    sub.created("b");
    let events = sub.events(1);
    let event = &events[0];
    assert_eq!((&event["type"], &event["subscription_id"]), (&json!("wake"), &json!(sub.id)));
    assert_eq!((&event["stream"], &event["generation"]), (&json!(sub.name("a")), &json!(1)));
    assert!(event["ts"].is_u64() && event.as_object().expect("an object").len() == 5, "{event}");
    let claimed = sub.claim("w").status(200).json();
    assert_eq!(claimed["generation"], json!(1), "the claim is of the wake that was told");
    assert_eq!(sub.events(1).len(), 1);
}

fn a_wake_stream_is_the_applications(t: &Target) {
    let sub = Subscription::new(t);
    sub.put(&sub.pull_body(LONG)).status(201);
    sub.wake_stream().get("offset=-1").status(404);
    sub.created("a");
    // Workers may claim all the same.
    sub.claim("w").status(200);
    sub.wake_stream().get("offset=-1").status(404);
}

fn a_claim_tells_all_that_a_worker_needs(t: &Target) {
    let sub = Subscription::pull(t, 5_000);
    let stream = sub.created("a");
    let response = sub.claim("w");
    let claimed =
        response.status(200).has("Content-Type", "application/json").has("Cache-Control", "no-store").json();
    assert_eq!((&claimed["generation"], &claimed["lease_ttl_ms"]), (&json!(1), &json!(5_000)));
    assert!(claimed["wake_id"].is_string() && claimed["token"].is_string(), "{claimed}");
    let named = stream_of(&claimed, &sub.name("a"));
    assert_eq!((&named["tail_offset"], &named["has_pending"]), (&json!(stream.tail()), &json!(true)));
}

fn one_of_many_workers_gets_the_work(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.created("a");
    let responses = at_once(8, |worker| (worker, sub.claim(&format!("w{worker}"))));
    let winners: Vec<_> = responses.iter().filter(|(_, response)| response.status == 200).collect();
    assert_eq!(winners.len(), 1);
    let holder = format!("w{}", winners[0].0);
    for (_, response) in responses.iter().filter(|(_, response)| response.status != 200) {
        let body = response.control_refused(409, "ALREADY_CLAIMED").json();
        assert_eq!(
            (&body["error"]["current_holder"], &body["error"]["generation"]),
            (&json!(holder), &json!(1))
        );
    }
}

fn nothing_pending_is_nothing_to_claim(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.claim("w").control_refused(409, "NO_PENDING_WORK");
    sub.stream("a").put().send().status(201);
    sub.claim("w").control_refused(409, "NO_PENDING_WORK");
}

fn a_claim_names_its_worker(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.created("a");
    for body in ["", "{}", r#"{"worker":""}"#, r#"{"worker":1}"#, "[]"] {
        sub.at("/claim").post(body).send().control_refused(400, "INVALID_REQUEST");
    }
    sub.claim("w").status(200);
}

fn an_ack_with_done_ends_the_lease(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    let stream = sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    let name = sub.name("a");
    let response = sub.report("ack", &claimed, &[(&name, &tail_of(&claimed, &name))], true);
    assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": false }));
    assert_eq!(sub.acked("a"), stream.tail());
    sub.claim("w").control_refused(409, "NO_PENDING_WORK");
    stream.append("[2]");
    assert_eq!(sub.claim("w").status(200).json()["generation"], json!(2));
}

fn an_ack_without_done_is_a_heartbeat(t: &Target) {
    let sub = Subscription::pull(t, 1_500);
    sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    for _ in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(700));
        let response = sub.report("ack", &claimed, &[], false);
        assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": false }));
    }
    sub.claim("other").control_refused(409, "ALREADY_CLAIMED");
    let name = sub.name("a");
    sub.report("ack", &claimed, &[(&name, &tail_of(&claimed, &name))], true).status(200);
}

fn what_is_left_after_done_is_another_wake(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    let stream = sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    let before = sub.events(0).len();
    stream.append("[2]");
    let name = sub.name("a");
    let response = sub.report("ack", &claimed, &[(&name, &tail_of(&claimed, &name))], true);
    assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": true }));
    let events = sub.events(before + 1);
    assert_eq!(events[before]["generation"], json!(2));
}

fn a_release_writes_another_event(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.created("a");
    sub.events(1);
    let claimed = sub.claim("w").status(200).json();
    let before = sub.acked("a");
    sub.report("release", &claimed, &[], false).status(204).body_is("");
    let events = sub.events(2);
    assert_eq!((&events[0]["generation"], &events[1]["generation"]), (&json!(1), &json!(2)));
    assert_eq!(sub.acked("a"), before);
    sub.claim("other").status(200);
}

fn stale_acks_and_releases_are_fenced(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    let stream = sub.created("a");
    let first = sub.claim("w1").status(200).json();
    let name = sub.name("a");
    sub.report("release", &first, &[], false).status(204);
    for action in ["ack", "release"] {
        sub.report(action, &first, &[], true).control_refused(409, "FENCED");
    }
    let second = sub.claim("w2").status(200).json();
    let last = stream.append("[2]");
    for action in ["ack", "release"] {
        sub.report(action, &first, &[(&name, &last)], true).control_refused(409, "FENCED");
    }
    sub.claim("w3").control_refused(409, "ALREADY_CLAIMED");
    sub.report("ack", &second, &[(&name, &last)], true).status(200);
    assert_eq!(sub.acked("a"), last);
}

fn acks_must_match_token_generation_and_wake(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    let name = sub.name("a");
    let before = sub.acked("a");
    let body = report(&claimed, &[(&name, &tail_of(&claimed, &name))], true);
    let token = claimed["token"].as_str().expect("a text");
    for action in ["ack", "release"] {
        sub.at(&format!("/{action}")).post(body.to_string()).send().control_refused(401, "TOKEN_INVALID");
        sub.report_as(action, &token.replacen('1', "2", 1), &body).control_refused(401, "TOKEN_INVALID");
        for (member, value) in [("generation", json!(2)), ("wake_id", json!("w_x"))] {
            let mut stale = body.clone();
            stale[member] = value;
            sub.report_as(action, token, &stale).control_refused(409, "FENCED");
        }
    }
    assert_eq!(sub.acked("a"), before);
    sub.report_as("ack", token, &body).status(200);
}

fn a_lease_that_ends_is_another_wake(t: &Target) {
    let sub = Subscription::pull(t, 1_000);
    sub.created("a");
    let first = sub.claim("w1").status(200).json();
    let told = sub.events(0).len();
    let events = sub.events(told + 1);
    assert_eq!(events[told]["generation"], json!(2));
    let name = sub.name("a");
    sub.report("ack", &first, &[(&name, &tail_of(&first, &name))], true).control_refused(409, "FENCED");
    assert_eq!(sub.claim("w2").status(200).json()["generation"], json!(2));
}

fn cursors_never_go_back(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    let stream = sub.created("a");
    let middle = stream.tail();
    let last = stream.append("[2]");
    let claimed = sub.claim("w").status(200).json();
    let name = sub.name("a");
    sub.report("ack", &claimed, &[(&name, &last)], false).status(200);
    sub.report("ack", &claimed, &[(&name, &middle)], false).control_refused(409, "INVALID_OFFSET");
    sub.report("ack", &claimed, &[(&name, &last), (&name, &middle)], false)
        .control_refused(409, "INVALID_OFFSET");
    sub.report("ack", &claimed, &[(&name, &last)], true).status(200);
    assert_eq!(sub.acked("a"), last);
}

fn a_stream_that_comes_back_wakes_again(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    let (stream, name) = (sub.stream("a"), sub.name("a"));
    for generation in 1..=3 {
        stream.put().send().status(201);
        stream.append("[1]");
        // Neither of the appends overlaps the one before: the server may believe that it knows the stream.
        let last = stream.append("[2]");
        sub.events(generation);
        let claimed = sub.claim("w").status(200).json();
        assert_eq!(claimed["generation"], json!(generation));
        sub.report("ack", &claimed, &[(&name, &last)], true).status(200);
        stream.delete().status(204);
        assert_eq!(sub.link(&name), None);
    }
}

fn a_deleted_subscription_refuses_its_workers(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    sub.delete();
    for action in ["ack", "release"] {
        sub.report(action, &claimed, &[], true).control_refused(404, "SUBSCRIPTION_NOT_FOUND");
    }
    sub.claim("w").control_refused(404, "SUBSCRIPTION_NOT_FOUND");
}

fn a_wake_stream_of_the_pattern_does_not_wake_itself(t: &Target) {
    let sub = Subscription::new(t);
    let wake_name = sub.name("wake");
    let wake = sub.stream("wake");
    wake.put().send().status(201);
    sub.put(
        &json!({ "type": "pull-wake", "pattern": format!("{}/*", sub.folder), "wake_stream": wake_name }),
    )
    .status(201);
    sub.at("/streams")
        .post(json!({ "streams": [wake_name] }).to_string())
        .send()
        .control_refused(400, "INVALID_REQUEST");
    sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    let name = sub.name("a");
    let response = sub.report("ack", &claimed, &[(&name, &tail_of(&claimed, &name))], true);
    assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": false }));
    assert_eq!(sub.link(&wake_name), None);
}

fn a_pull_wake_subscription_has_no_callbacks(t: &Target) {
    let sub = Subscription::pull(t, LONG);
    sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    sub.report("callback", &claimed, &[], true).control_refused(400, "INVALID_REQUEST");
    sub.report("ack", &claimed, &[], true).status(200);
}
