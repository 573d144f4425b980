# Headwater behind Fastly, as the service's custom VCL. The origin is the service's host, which the macro in vcl_recv
# chooses, shield included.
# Varnish doesn't compile this: querystring, return(pass) from vcl_fetch and the macros are Fastly's own.

sub vcl_recv {
#FASTLY recv
  # The origin's --base-path. What lies beside it, such as /health, is nobody's business out here.
  if (req.url.path !~ "^/v1/stream/") {
    error 404 "Not Found";
  }

  # Writes and preflights. HEAD too: it would be answered from a kept GET, and it must tell the tail of now.
  if (req.method != "GET" && req.method != "FASTLYPURGE") {
    return(pass);
  }
  # Reads that no cache may keep: without an offset, from "now", or resumed by a header that is not in the key.
  if (req.url !~ "[?&]offset=[^&]" || req.url ~ "[?&]offset=now(&|$)" || req.http.Last-Event-ID) {
    return(pass);
  }
  # The origin answers in full. A part of a kept answer would still say the offset after the whole.
  unset req.http.Range;
  # One order of the arguments, so that all clients have one key.
  set req.url = querystring.sort(req.url);
  # With credentials nobody waits for somebody else's answer: if it is private it could not be shared.
  # Take this out if all your readers have the same credential.
  if (req.http.Authorization) {
    set req.hash_ignore_busy = true;
  }
  return(lookup);
}

sub vcl_hash {
  set req.hash += req.url;
  set req.hash += req.http.host;
  set req.hash += req.http.Authorization;
#FASTLY hash
  return(hash);
}

sub vcl_miss {
#FASTLY miss
  # Longer than a long-poll (20 s). With clustering 60 s is the most; the default of 15 s would end it.
  set bereq.first_byte_timeout = 60s;
  # Longer than the silence in an event stream (15 s); the default is 10 s.
  set bereq.between_bytes_timeout = 60s;
  return(fetch);
}

sub vcl_pass {
#FASTLY pass
  set bereq.first_byte_timeout = 60s;
  set bereq.between_bytes_timeout = 60s;
  return(pass);
}

sub vcl_fetch {
#FASTLY fetch
  # Answers, event streams too, go to readers while they come in.
  set beresp.do_stream = true;

  # Fastly looks at max-age only. A pass of something cacheable marks the URL for a while: requests like this one then
  # go to the origin side by side. A pass of something uncacheable would send them one after another.
  if (!beresp.http.Cache-Control || beresp.http.Cache-Control ~ "(?i)private|no-cache") {
    set beresp.cacheable = true;
    set beresp.ttl = 120s;
    return(pass);
  }
  if (beresp.http.Cache-Control ~ "(?i)no-store") {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # The end of a long-poll with nothing to tell releases all who wait for it. By default a 204 is not cacheable.
  if (beresp.status == 204) {
    set beresp.cacheable = true;
  }
  # Only when the origin is down. While it is well, only chunks are given out late, as their own
  # stale-while-revalidate says.
  set beresp.stale_if_error = 600s;
  return(deliver);
}

sub vcl_hit {
#FASTLY hit
  return(deliver);
}

sub vcl_error {
#FASTLY error
  if (obj.status >= 500 && obj.status < 600 && stale.exists) {
    return(deliver_stale);
  }
  set obj.http.Cache-Control = "no-store";
  return(deliver);
}

sub vcl_deliver {
#FASTLY deliver
  return(deliver);
}

sub vcl_log {
#FASTLY log
}
