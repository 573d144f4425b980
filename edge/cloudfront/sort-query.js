// Viewer-request function: the arguments that count, in one order, so that all clients have one key. HEAD gets a key of
// its own: it would be answered from a kept GET, and it must tell the tail of now. Ranges go: the origin answers in
// full, and a part of a kept answer would still say the offset after the whole.
var ARGUMENTS = ["cursor", "lastEventId", "live", "offset"]
// The origin's --base-path. What lies beside it, such as /health, is nobody's business out here.
var BASE_PATH = "/v1/stream/"

function handler(event) {
  var request = event.request
  if (!request.uri.startsWith(BASE_PATH)) return { statusCode: 404 }
  var sorted = []
  ARGUMENTS.forEach(function (name) {
    var argument = request.querystring[name]
    if (!argument) return
    var all = argument.multiValue || [argument]
    all.forEach(function (one) {
      sorted.push(name + "=" + one.value)
    })
  })
  request.querystring = sorted.join("&")
  request.headers["x-headwater-read"] = { value: request.method === "HEAD" ? "head" : "get" }
  delete request.headers.range
  return request
}
