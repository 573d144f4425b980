// The viewer-request function, as CloudFront calls it: node --test
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

const source = readFileSync(new URL("sort-query.js", import.meta.url), "utf8")
const handler = new Function(`${source}; return handler`)()

function handled(querystring, method = "GET", headers = {}) {
  return handler({ request: { method, uri: "/v1/stream/a", querystring, headers } })
}

test("arguments come in one order and unknown ones are dropped", () => {
  const query = { offset: { value: "1_2" }, live: { value: "long-poll" }, utm: { value: "x" }, cursor: { value: "7" } }
  assert.equal(handled(query).querystring, "cursor=7&live=long-poll&offset=1_2")
  assert.equal(handled({}).querystring, "")
})

test("an EventSource may say in the URL where it was", () => {
  const query = { offset: { value: "-1" }, live: { value: "sse" }, lastEventId: { value: "1_2" } }
  assert.equal(handled(query).querystring, "lastEventId=1_2&live=sse&offset=-1")
})

test("an escaped slash stays as it was sent", () => {
  const request = { method: "GET", uri: "/v1/stream/a%2Fb", querystring: {}, headers: {} }
  assert.equal(handler({ request }).uri, "/v1/stream/a%2Fb")
})

test("repeated arguments stay repeated, for the origin to refuse", () => {
  const query = { offset: { value: "1", multiValue: [{ value: "1" }, { value: "2" }] } }
  assert.equal(handled(query).querystring, "offset=1&offset=2")
})

test("ranges are not asked for", () => {
  assert.equal(handled({}, "GET", { range: { value: "bytes=0-1" } }).headers.range, undefined)
})

test("what lies beside the streams is nobody's business", () => {
  const request = { method: "GET", uri: "/health", querystring: {}, headers: {} }
  assert.deepEqual(handler({ request }), { statusCode: 404 })
})

test("HEAD has a key of its own", () => {
  assert.equal(handled({}).headers["x-headwater-read"].value, "get")
  assert.equal(handled({}, "HEAD").headers["x-headwater-read"].value, "head")
})
