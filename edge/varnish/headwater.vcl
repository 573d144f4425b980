# Headwater behind Varnish 6.0 or later: varnishd -F -n "$PWD/run" -a :8080 -f "$PWD/headwater.vcl" -s malloc,1g
# origin.vcl says where the origin is.
vcl 4.1;

import std;

probe health {
    .url = "/livez";
    .interval = 1s;
    .timeout = 1s;
    .window = 3;
    .threshold = 2;
    .initial = 2;
}

include "./origin.vcl";

sub vcl_recv {
    # The origin's --base-path. What lies beside it, such as /health, is nobody's business out here.
    if (req.url !~ "^/v1/stream/") {
        return (synth(404));
    }
    # Nothing is given out that is older than it says, unless the origin is down.
    if (std.healthy(req.backend_hint)) {
        set req.grace = 0s;
    }
    # Writes and preflights. HEAD too: Varnish would answer it from a kept GET, and it must tell the tail of now.
    if (req.method != "GET") {
        return (pass);
    }
    # Reads that no cache may keep: without an offset, from "now", or resumed by a header that is not in the key.
    if (req.url !~ "[?&]offset=[^&]" || req.url ~ "[?&]offset=now(&|$)" || req.http.Last-Event-ID) {
        return (pass);
    }
    # The origin answers in full. A part of a kept answer would still say the offset after the whole.
    unset req.http.Range;
    # One order of the arguments, so that all clients have one key.
    set req.url = std.querysort(req.url);
    # With credentials nobody waits for somebody else's answer: if it is private it could not be shared.
    # Take this out if all your readers have the same credential.
    if (req.http.Authorization) {
        set req.hash_ignore_busy = true;
    }
    return (hash);
}

# The built-in part adds the URL and the host. If your readers are known by a cookie, it belongs here too.
sub vcl_hash {
    hash_data(req.http.Authorization);
}

sub vcl_backend_fetch {
    # Longer than a long-poll (--long-poll-timeout, 20 s) and than the silence in an event stream (--sse-heartbeat,
    # 15 s).
    set bereq.first_byte_timeout = 120s;
    set bereq.between_bytes_timeout = 75s;
}

sub vcl_backend_response {
    # Answers, event streams too, go to readers while they come in.
    set beresp.do_stream = true;
    # Who may not share an answer doesn't wait for it either: for a while requests like this one go to the origin side
    # by side. One that may be shared ends that.
    if (!beresp.http.Cache-Control || beresp.http.Cache-Control ~ "(?i)private|no-cache") {
        set beresp.uncacheable = true;
        set beresp.ttl = 120s;
        return (deliver);
    }
    if (beresp.http.Cache-Control ~ "(?i)no-store") {
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
        return (deliver);
    }
    # The time to live is the answer's max-age. Then it is kept, to be revalidated by its ETag, and for when the origin
    # is down.
    set beresp.grace = 10m;
    # An event stream that the origin lets us share is worth nothing once it has ended.
    if (beresp.http.Content-Type ~ "^text/event-stream") {
        set beresp.grace = 0s;
    }
    return (deliver);
}

# One failure answers all who wait for it. Otherwise the next one would try, and wait as long again.
sub vcl_backend_error {
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "1";
    set beresp.http.Access-Control-Allow-Origin = "*";
    if (!bereq.uncacheable) {
        set beresp.ttl = 1s;
    }
    return (deliver);
}

# RFC 9211 has the longer word, older pages look at the shorter ones.
sub vcl_deliver {
    if (obj.uncacheable) {
        set resp.http.X-Cache = "BYPASS";
        set req.http.Edge-Status = "varnish; fwd=bypass";
    } else if (obj.ttl < 0s) {
        set resp.http.X-Cache = "STALE";
        set req.http.Edge-Status = "varnish; hit; detail=origin-down";
    } else if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
        set resp.http.X-Cache-Hits = obj.hits;
        set req.http.Edge-Status = "varnish; hit";
    } else {
        set resp.http.X-Cache = "MISS";
        set req.http.Edge-Status = "varnish; fwd=miss";
    }
    # Behind what the caches before this one have said, the origin's own included.
    if (resp.http.Cache-Status) {
        set resp.http.Cache-Status = resp.http.Cache-Status + ", " + req.http.Edge-Status;
    } else {
        set resp.http.Cache-Status = req.http.Edge-Status;
    }
    unset resp.http.X-Varnish;
    return (deliver);
}
