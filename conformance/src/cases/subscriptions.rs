//! Subscriptions as resources: creating, reading, linking, deleting (section 6).

use serde_json::{Value, json};

use crate::case::{at_once, cases};
use crate::client::Target;
use crate::subscription::Subscription;

const URL: &str = "https://worker.example/hooks";

cases! {
    a_new_subscription_is_201_and_is_told: "section 6.2, 6.3",
    a_repetition_is_200_however_it_is_spelled: "section 6.2: MUST hash the normalized subscription configuration",
    another_configuration_is_409_and_changes_nothing: "section 6.2: 409",
    one_of_many_creations_at_once_is_the_first: "section 6.2",
    a_subscription_needs_a_pattern_or_streams: "section 6.2: At least one of pattern or streams MUST be present",
    what_makes_no_sense_is_400: "section 6.2",
    a_pattern_has_at_most_four_double_stars: "docs/ARCHITECTURE.md, bounds",
    a_filter_is_refused_and_not_ignored: "section 7.4: MUST NOT advertise support for a draft extension",
    no_answer_holds_a_secret: "section 6.2: MUST NOT include shared webhook signing secrets",
    urls_of_local_networks_are_rejected: "section 6.2: RFC1918, link-local, loopback MUST be rejected",
    urls_without_tls_are_rejected: "section 6.2: Production webhook URLs MUST use https://",
    urls_with_a_port_that_is_none_are_rejected: "section 6.2; RFC 3986, 3.2.3",
    streams_that_are_there_are_linked_at_their_tail: "section 6.2: MUST eagerly backfill matching existing streams",
    a_star_is_one_segment: "section 6.2: glob rules",
    two_stars_are_any_number_of_segments: "section 6.2: glob rules",
    a_stream_is_linked_before_the_append_that_reveals_it: "section 6.2: linked before that append",
    a_creation_with_data_reveals_a_stream_too: "section 6.2: linked before that append",
    an_explicit_link_to_nothing_waits_for_the_stream: "section 6.4",
    explicit_wins_over_the_pattern_and_leaves_it_behind: "section 6.1: Removing the explicit link does not remove the glob link",
    links_come_and_go: "section 6.4",
    an_added_stream_is_linked_at_its_tail: "section 6.4: New explicit streams are linked at their current tail offset",
    a_deleted_stream_leaves_only_its_explicit_link: "docs/ARCHITECTURE.md, subscriptions",
    many_streams_are_read_in_pages: "docs/ARCHITECTURE.md, bounds",
    a_missing_subscription_is_404: "section 6.3",
    a_deletion_is_204_and_then_404: "section 6.3: DELETE",
    ids_are_one_segment: "section 6.1",
    control_resources_have_their_methods: "RFC 9110, 15.5.6",
    control_answers_are_never_kept: "section 10.1",
    a_control_body_is_bounded: "section 12.5",
}

fn a_new_subscription_is_201_and_is_told(t: &Target) {
    let sub = Subscription::new(t);
    let mut body = sub.webhook_body(URL);
    body["description"] = json!("event processor");
    body["streams"] = json!([sub.name("x"), "other-folder/y"]);
    let response = sub.put(&body);
    response.status(201).has("Content-Type", "application/json").has("Cache-Control", "no-store");
    let created = response.json();
    for told in [&created, &sub.get()] {
        assert_eq!((&told["id"], &told["subscription_id"]), (&json!(sub.id), &json!(sub.id)));
        assert_eq!((&told["type"], &told["pattern"]), (&json!("webhook"), &body["pattern"]));
        assert_eq!((&told["webhook"]["url"], &told["wake_stream"]), (&json!(URL), &Value::Null));
        assert_eq!((&told["lease_ttl_ms"], &told["status"]), (&json!(600_000), &json!("active")));
        assert_eq!((&told["description"], &told["filter"]), (&json!("event processor"), &Value::Null));
        let paths: Vec<_> =
            told["streams"].as_array().expect("a list").iter().map(|link| link["path"].clone()).collect();
        assert_eq!(paths, [json!(sub.name("x")), json!("other-folder/y")]);
        crate::instant::parsed(told["created_at"].as_str().expect("a time"));
    }
    let pull = Subscription::pull(t, 1_000).get();
    assert_eq!(
        (&pull["type"], &pull["webhook"], &pull["lease_ttl_ms"]),
        (&json!("pull-wake"), &Value::Null, &json!(1_000))
    );
    let plain = Subscription::new(t);
    plain.put(&json!({ "type": "pull-wake", "streams": ["a"], "wake_stream": "w" })).status(201);
    assert_eq!(plain.get()["lease_ttl_ms"], 30_000);
}

fn a_repetition_is_200_however_it_is_spelled(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    let body = sub.webhook_body(URL);
    let told = sub.get();
    let mut spelled = body.clone();
    spelled["pattern"] = json!(format!("/{}/*/", sub.folder));
    spelled["streams"] = json!([]);
    spelled["filter"] = Value::Null;
    for same in [&body, &spelled] {
        assert_eq!(sub.put(same).status(200).json(), told);
    }
    let listed = Subscription::new(t);
    listed.put(&json!({ "type": "pull-wake", "streams": ["b", "a"], "wake_stream": "w" })).status(201);
    listed.put(&json!({ "wake_stream": "/w", "streams": ["a", "b", "a"], "type": "pull-wake", "lease_ttl_ms": 30_000 })).status(200);
    // What was linked since is no part of it.
    listed.at("/streams").post(r#"{"streams":["c"]}"#).send().status(204);
    listed.put(&json!({ "type": "pull-wake", "streams": ["b", "a"], "wake_stream": "w" })).status(200);
}

fn another_configuration_is_409_and_changes_nothing(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    let told = sub.get();
    let with = |member: &str, value: Value| {
        let mut body = sub.webhook_body(URL);
        body[member] = value;
        body
    };
    for other in [
        with("pattern", json!("**")),
        with("streams", json!(["a"])),
        with("webhook", json!({ "url": "https://worker.example/other" })),
        with("lease_ttl_ms", json!(1_000)),
        with("description", json!("x")),
        sub.pull_body(600_000),
    ] {
        sub.put(&other).control_refused(409, "SUBSCRIPTION_ALREADY_EXISTS");
    }
    assert_eq!(sub.get(), told);
}

fn one_of_many_creations_at_once_is_the_first(t: &Target) {
    let sub = Subscription::new(t);
    let body = sub.webhook_body(URL);
    let mut statuses = at_once(8, |_| sub.put(&body).status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
}

fn a_subscription_needs_a_pattern_or_streams(t: &Target) {
    let sub = Subscription::new(t);
    for streams in [Value::Null, json!([])] {
        let body = json!({ "type": "webhook", "webhook": { "url": URL }, "streams": streams });
        sub.put(&body).control_refused(400, "INVALID_REQUEST");
    }
    sub.at("").get("").control_refused(404, "SUBSCRIPTION_NOT_FOUND");
}

fn what_makes_no_sense_is_400(t: &Target) {
    let sub = Subscription::new(t);
    for (member, value) in [
        ("type", json!("email")),
        ("type", Value::Null),
        ("pattern", json!(7)),
        ("pattern", json!("a/../b")),
        ("pattern", json!("a*")),
        ("streams", json!("a")),
        ("streams", json!(["__ds/x"])),
        ("streams", json!([1])),
        ("webhook", json!({})),
        ("lease_ttl_ms", json!(999)),
        ("lease_ttl_ms", json!(600_001)),
        ("lease_ttl_ms", json!("1000")),
        ("description", json!(1)),
    ] {
        let mut body = sub.webhook_body(URL);
        body[member] = value;
        sub.put(&body).control_refused(400, "INVALID_REQUEST");
    }
    for body in ["", "{", "[]", "null", "\u{0}"] {
        sub.at("").put().body(body).send().control_refused(400, "INVALID_REQUEST");
    }
    sub.put(&json!({ "type": "pull-wake", "pattern": "a/*" })).control_refused(400, "INVALID_REQUEST");
    sub.put(&json!({ "type": "pull-wake", "streams": ["w"], "wake_stream": "w" }))
        .control_refused(400, "INVALID_REQUEST");
    sub.at("").get("").control_refused(404, "SUBSCRIPTION_NOT_FOUND");
}

fn a_pattern_has_at_most_four_double_stars(t: &Target) {
    let sub = Subscription::new(t);
    let body = |below: &str| {
        let mut body = sub.webhook_body(URL);
        body["pattern"] = json!(format!("{}/{below}", sub.folder));
        body
    };
    sub.put(&body("**/a/**/b/**/c/**/d/**")).control_refused(400, "INVALID_REQUEST");
    sub.put(&body("**/a/**/b/**/c/**")).status(201);
}

fn a_filter_is_refused_and_not_ignored(t: &Target) {
    let sub = Subscription::new(t);
    let mut body = sub.webhook_body(URL);
    body["filter"] = json!({ "language": "cel", "expression": "true" });
    sub.put(&body).control_refused(400, "INVALID_REQUEST");
}

fn no_answer_holds_a_secret(t: &Target) {
    let sub = Subscription::new(t);
    let body = sub.webhook_body(URL);
    for response in [sub.put(&body), sub.put(&body), sub.at("").get("")] {
        let text = response.text().to_ascii_lowercase();
        assert!(!text.contains("secret") && !text.contains("\"seed\""), "{response}");
    }
    let keys = t.named("__ds/jwks.json", "").get("").status(200).json();
    assert!(keys["keys"].as_array().expect("a list").iter().all(|key| key.get("d").is_none()), "{keys}");
}

#[track_caller]
fn rejected(t: &Target, url: &str) {
    let sub = Subscription::new(t);
    sub.put(&sub.webhook_body(url)).control_refused(400, "WEBHOOK_URL_REJECTED");
    sub.at("").get("").status(404);
}

fn urls_of_local_networks_are_rejected(t: &Target) {
    for host in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "255.255.255.255",
        "224.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0X7F.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "worker.0x8",
        "%31%32%37.0.0.1",
        "[fe80::1%25eth0]",
        "[2606:4700::1111%25eth0]",
        "[v1.x]",
    ] {
        rejected(t, &format!("https://{host}/hook"));
    }
}

fn urls_without_tls_are_rejected(t: &Target) {
    for url in [
        "http://worker.example/hook",
        "http://10.0.0.1/hook",
        "http://127.1.2.3/hook",
        "http://[::1]/hook",
        "ftp://worker.example/",
        "worker.example",
        "",
        "//worker.example",
        "https://",
        "https://user:pass@worker.example/",
        "https://worker.example/#x",
        "http://localhost.worker.example/",
    ] {
        rejected(t, url);
    }
}

fn urls_with_a_port_that_is_none_are_rejected(t: &Target) {
    for port in ["70000", "65536", "0", "", "https"] {
        rejected(t, &format!("https://worker.example:{port}/hook"));
    }
}

fn streams_that_are_there_are_linked_at_their_tail(t: &Target) {
    let sub = Subscription::new(t);
    let (full, empty) = (sub.created("full"), sub.stream("empty"));
    full.append("[2,3]");
    empty.put().send().status(201);
    sub.created("deeper/one");
    sub.put(&sub.webhook_body(URL)).status(201);
    assert_eq!(sub.acked("full"), full.tail());
    assert_eq!(sub.acked("empty"), empty.tail());
    assert_eq!(sub.link(&sub.name("full")).expect("linked")["link_type"], "glob");
    assert_eq!(sub.get()["streams"].as_array().expect("a list").len(), 2);
}

fn a_star_is_one_segment(t: &Target) {
    let sub = Subscription::new(t);
    sub.put(&json!({ "type": "pull-wake", "pattern": format!("{}/*/z", sub.folder), "wake_stream": "w" }))
        .status(201);
    for last in ["a/z", "a/b/z", "z", "a", "a/z/b", "b c/z"] {
        sub.stream(&last.replace(' ', "%20")).put().body("[1]").send().status(201);
    }
    assert!(sub.link(&sub.name("a/z")).is_some() && sub.link(&sub.name("b c/z")).is_some());
    assert_eq!(sub.get()["streams"].as_array().expect("a list").len(), 2);
}

fn two_stars_are_any_number_of_segments(t: &Target) {
    let sub = Subscription::new(t);
    sub.put(&json!({ "type": "pull-wake", "pattern": format!("{}/**/z", sub.folder), "wake_stream": "w" }))
        .status(201);
    for last in ["z", "a/z", "a/b/z", "zz", "a/z/b", "a/zz"] {
        sub.created(last);
    }
    let told = sub.get();
    let mut paths: Vec<_> =
        told["streams"].as_array().expect("a list").iter().filter_map(|link| link["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, [sub.name("a/b/z"), sub.name("a/z"), sub.name("z")]);
}

fn a_stream_is_linked_before_the_append_that_reveals_it(t: &Target) {
    let sub = Subscription::pull(t, 600_000);
    let stream = sub.stream("a");
    stream.put().send().status(201);
    let before = stream.tail();
    let after = stream.append("[1]");
    let claimed = sub.claim("w").status(200).json();
    let named = crate::subscription::stream_of(&claimed, &sub.name("a"));
    assert_eq!((&named["acked_offset"], &named["tail_offset"]), (&json!(before), &json!(after)));
    assert_eq!((&named["has_pending"], &named["link_type"]), (&json!(true), &json!("glob")));
}

fn a_creation_with_data_reveals_a_stream_too(t: &Target) {
    let sub = Subscription::pull(t, 600_000);
    let stream = sub.created("a");
    let claimed = sub.claim("w").status(200).json();
    let named = crate::subscription::stream_of(&claimed, &sub.name("a"));
    assert_eq!(named["tail_offset"], json!(stream.tail()));
    let read = stream.read(named["acked_offset"].as_str().expect("a text"));
    assert_eq!(read.status(200).json(), json!([1]), "reading on from the cursor gives the new data");
}

fn an_explicit_link_to_nothing_waits_for_the_stream(t: &Target) {
    let sub = Subscription::new(t);
    sub.wake_stream().put().send().status(201);
    let body = json!({ "type": "pull-wake", "streams": [sub.name("a")], "wake_stream": format!("{}-wake", sub.folder) });
    sub.put(&body).status(201);
    assert_eq!(sub.link(&sub.name("a")).expect("linked")["link_type"], "explicit");
    sub.claim("w").control_refused(409, "NO_PENDING_WORK");
    sub.stream("a").put().send().status(201);
    sub.claim("w").control_refused(409, "NO_PENDING_WORK");
    let tail = sub.stream("a").append("[1]");
    let claimed = sub.claim("w").status(200).json();
    assert_eq!(crate::subscription::tail_of(&claimed, &sub.name("a")), tail);
}

fn explicit_wins_over_the_pattern_and_leaves_it_behind(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    let stream = sub.created("a");
    let name = sub.name("a");
    let glob = sub.link(&name).expect("linked");
    sub.at("/streams").post(json!({ "streams": [name] }).to_string()).send().status(204);
    let explicit = sub.link(&name).expect("linked");
    assert_eq!(
        (&explicit["link_type"], &explicit["acked_offset"]),
        (&json!("explicit"), &glob["acked_offset"])
    );
    sub.at(&format!("/streams/{}", name.replace('/', "%2F"))).delete().status(204);
    assert_eq!(sub.link(&name), Some(glob), "the pattern's link stays, with its cursor");
    assert_ne!(sub.acked("a"), stream.tail());
}

fn links_come_and_go(t: &Target) {
    let sub = Subscription::new(t);
    let (a, b) = (format!("{}-x/a", sub.folder), format!("{}-x/b", sub.folder));
    sub.put(&sub.webhook_body(URL)).status(201);
    for _ in 0..2 {
        sub.at("/streams")
            .post(json!({ "streams": [a, b, format!("/{a}/")] }).to_string())
            .send()
            .status(204)
            .body_is("");
    }
    assert_eq!(sub.get()["streams"].as_array().expect("a list").len(), 2);
    sub.at(&format!("/streams/{a}")).delete().status(204);
    for _ in 0..2 {
        sub.at(&format!("/streams/{}", b.replace('/', "%2f"))).delete().status(204).body_is("");
    }
    assert_eq!(sub.get()["streams"], json!([]));
    for body in
        ["", "{}", r#"{"streams":[]}"#, r#"{"streams":"a"}"#, r#"{"streams":[""]}"#, r#"{"streams":["a",1]}"#]
    {
        sub.at("/streams").post(body).send().control_refused(400, "INVALID_REQUEST");
    }
    assert_eq!(sub.get()["streams"], json!([]));
}

fn an_added_stream_is_linked_at_its_tail(t: &Target) {
    let sub = Subscription::pull(t, 600_000);
    let other = t.json(&["1", "2"]);
    let name = other.path.strip_prefix(&format!("{}/", t.base_path)).expect("below the base path").to_owned();
    sub.at("/streams").post(json!({ "streams": [name] }).to_string()).send().status(204);
    assert_eq!(sub.link(&name).expect("linked")["acked_offset"], json!(other.tail()));
    sub.claim("w").control_refused(409, "NO_PENDING_WORK");
    other.append("3");
    sub.claim("w").status(200);
}

fn a_deleted_stream_leaves_only_its_explicit_link(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    sub.created("glob").delete().status(204);
    assert_eq!(sub.link(&sub.name("glob")), None);
    sub.at("/streams").post(json!({ "streams": [sub.name("named")] }).to_string()).send().status(204);
    sub.created("named").delete().status(204);
    assert_eq!(sub.link(&sub.name("named")).expect("linked")["link_type"], "explicit");
}

fn many_streams_are_read_in_pages(t: &Target) {
    let sub = Subscription::new(t);
    let names: Vec<String> = (0..2_500).map(|number| format!("paged/{number:04}")).collect();
    sub.put(&json!({ "type": "pull-wake", "streams": names, "wake_stream": "w" })).status(201);
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = sub.at("").get(&query).status(200).json();
        let streams = page["streams"].as_array().expect("a list");
        assert!(streams.len() <= 1_000, "{} on a page", streams.len());
        seen.extend(streams.iter().map(|link| link["path"].as_str().expect("a name").to_owned()));
        match page["streams_after"].as_str() {
            Some(after) => query = format!("after={after}"),
            None => break,
        }
    }
    assert_eq!(seen, names);
    sub.at("").get("after=a&after=b").status(400);
    sub.at("").get("after=../x").status(400);
}

fn a_missing_subscription_is_404(t: &Target) {
    let sub = Subscription::new(t);
    let code = "SUBSCRIPTION_NOT_FOUND";
    sub.at("").get("").control_refused(404, code);
    sub.at("/streams").post(r#"{"streams":["a"]}"#).send().control_refused(404, code);
    sub.at("/streams/a").delete().control_refused(404, code);
    sub.claim("w").control_refused(404, code);
    let body = json!({ "wake_id": "w", "generation": 1 });
    for action in ["callback", "ack", "release"] {
        sub.report_as(action, "1.x", &body).control_refused(404, code);
    }
    sub.at("").head().status(404).body_is("");
}

fn a_deletion_is_204_and_then_404(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    for _ in 0..2 {
        sub.at("").delete().status(204).body_is("");
    }
    sub.at("").get("").control_refused(404, "SUBSCRIPTION_NOT_FOUND");
    // The id is free for another configuration.
    sub.put(&sub.pull_body(1_000)).status(201);
}

fn ids_are_one_segment(t: &Target) {
    let name = t.unused_name();
    let at = |id: &str| t.named(&format!("__ds/subscriptions/{id}"), "application/json");
    let body = json!({ "type": "pull-wake", "streams": ["a"], "wake_stream": "w" }).to_string();
    let odd = format!("{name}%20%C3%A9%3F%23");
    at(&odd).put().body(&body).send().status(201);
    assert_eq!(at(&odd).get("").status(200).json()["id"], json!(format!("{name} é?#")));
    for id in ["", "a%2Fb", "..", "%00", &"x".repeat(257)] {
        at(id).put().body(&body).send().status_in(&[400, 404]);
    }
}

fn control_resources_have_their_methods(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    for (action, method, allowed) in [
        ("", "POST", "PUT"),
        ("", "PATCH", "DELETE"),
        ("/streams", "GET", "POST"),
        ("/streams/a", "GET", "DELETE"),
        ("/claim", "GET", "POST"),
        ("/callback", "PUT", "POST"),
        ("/ack", "GET", "POST"),
        ("/release", "DELETE", "POST"),
    ] {
        let response = sub.at(action).request(method).body("").send();
        response.status(405);
        assert!(response.list("Allow").contains(&allowed.to_ascii_lowercase()), "{response}");
    }
    t.named("__ds/jwks.json", "").put().send().status(405);
    sub.at("").request("OPTIONS").send().status(204);
}

fn control_answers_are_never_kept(t: &Target) {
    let sub = Subscription::webhook(t, URL);
    sub.at("").get("").status(200).has("Cache-Control", "no-store").has("X-Content-Type-Options", "nosniff");
    sub.at("").head().status(200).has("Cache-Control", "no-store").body_is("");
    sub.at("/other").get("").status(404).has("Cache-Control", "no-store");
}

fn a_control_body_is_bounded(t: &Target) {
    let sub = Subscription::new(t);
    let length = ((1 << 20) + 1).to_string();
    let headers = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
    // Not one byte of the body: the length alone decides.
    let head = sub.at("").raw_head("PUT", "", &headers);
    t.connect().send(head).response().refused(413, "body-too-large");
    sub.at("").get("").status(404);
}
