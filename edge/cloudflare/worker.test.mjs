// The Worker with a cache and an origin in memory: node --test
import assert from "node:assert/strict"
import { beforeEach, test } from "node:test"
import worker from "./worker.mjs"

const EDGE = "https://streams.example"
const ORIGIN = "https://origin.example"
const PATH = "/v1/stream/a"

let kept, asked, answers

beforeEach(() => {
  kept = new Map()
  asked = []
  answers = () => new Response("data", { headers: { "Cache-Control": "public, max-age=5", ETag: '"1:0:4"' } })
  globalThis.caches = {
    default: {
      match: async (key) => kept.get(key.url)?.clone(),
      put: async (key, answer) => {
        assert.equal(key.method, "GET")
        kept.set(key.url, answer)
      },
    },
  }
  globalThis.fetch = async (input, init) => {
    const request = new Request(input, init)
    asked.push(request)
    return answers(request)
  }
})

async function ask(address, init) {
  const pending = []
  const context = { waitUntil: (promise) => pending.push(promise) }
  const answer = await worker.fetch(new Request(EDGE + address, init), { ORIGIN }, context)
  await Promise.all(pending)
  return answer
}

const words = async (...asks) => {
  const said = []
  for (const [address, init] of asks) said.push((await ask(address, init)).headers.get("x-cache"))
  return said
}

test("a read is asked of the origin once", async () => {
  const first = await ask(`${PATH}?offset=-1`)
  const again = await ask(`${PATH}?offset=-1`)
  assert.equal(await first.text(), "data")
  assert.equal(await again.text(), "data")
  assert.deepEqual([first, again].map((a) => a.headers.get("x-cache")), ["MISS", "HIT"])
  assert.match(again.headers.get("cache-status"), /^worker; hit$/)
  assert.equal(asked.length, 1)
})

test("the order of arguments and unknown ones make no difference", async () => {
  await ask(`${PATH}?offset=1_2&live=long-poll&cursor=7`)
  const said = await words(
    [`${PATH}?cursor=7&live=long-poll&offset=1_2`],
    [`${PATH}?utm=x&live=long-poll&offset=1_2&cursor=7`],
  )
  assert.deepEqual(said, ["HIT", "HIT"])
  assert.equal(asked[0].url, `${ORIGIN}${PATH}?cursor=7&live=long-poll&offset=1_2`)
})

test("a disguised argument reaches the origin as what it is in the key", async () => {
  await ask(`${PATH}?offset=-1&%6Cive=long-poll`)
  assert.equal(asked[0].url, `${ORIGIN}${PATH}?live=long-poll&offset=-1`)
  await ask(`${PATH}?offset=-1`)
  assert.equal(asked.length, 2)
})

test("an escaped slash and the place of an EventSource reach the origin as they were sent", async () => {
  const events = "/v1/stream/a%2Fb?offset=-1&live=sse&lastEventId=1_2"
  await ask(events)
  await ask("/v1/stream/a%2Fb?offset=-1")
  assert.deepEqual(asked.map((one) => one.url), [ORIGIN + events, `${ORIGIN}/v1/stream/a%2Fb?offset=-1`])
})

test("HEAD, writes and reads made for one reader go to the origin as they are", async () => {
  const query = "?z=1&offset=-1"
  const said = await words(
    [PATH + query],
    [PATH + query, { method: "HEAD" }],
    [PATH + query, { method: "POST", body: "x" }],
    [PATH],
    [`${PATH}?offset=now`],
    [`${PATH}?offset=-1&live=sse`],
  )
  assert.deepEqual(said, ["MISS", "BYPASS", "BYPASS", "BYPASS", "BYPASS", "BYPASS"])
  assert.deepEqual(asked.map((request) => request.method), ["GET", "HEAD", "POST", "GET", "GET", "GET"])
  assert.equal(asked[1].url, ORIGIN + PATH + query)
})

test("a new stream is named as its readers do", async () => {
  answers = () => new Response(null, { status: 201, headers: { Location: `http://origin.example${PATH}` } })
  const answer = await ask(PATH, { method: "PUT" })
  assert.equal(answer.headers.get("location"), EDGE + PATH)
})

test("readers with different credentials never share", async () => {
  answers = (request) => {
    const body = request.headers.get("authorization") ?? "nobody"
    return new Response(body, { headers: { "Cache-Control": "public, max-age=5" } })
  }
  for (const round of [1, 2]) {
    for (const name of ["Bearer a", "Bearer b", null]) {
      const answer = await ask(`${PATH}?offset=-1`, { headers: name ? { Authorization: name } : {} })
      assert.equal(await answer.text(), name ?? "nobody", `round ${round}`)
    }
  }
  assert.equal(asked.length, 3)
  assert.ok([...kept.keys()].every((url) => !url.includes("Bearer")))
})

test("only what says public and has an age is kept", async () => {
  const rules = [
    ["public, max-age=5", 200, 1],
    ["public, max-age=1", 204, 1],
    ["private, max-age=5", 200, 2],
    ["public, max-age=0", 200, 2],
    ["no-store", 200, 2],
    ["no-cache, no-transform", 200, 2],
    [null, 200, 2],
    ["no-store", 404, 2],
    ["public, max-age=60", 500, 2],
  ]
  for (const [at, [rule, status, expected]] of rules.entries()) {
    asked = []
    answers = () => new Response(null, { status, headers: rule === null ? {} : { "Cache-Control": rule } })
    const address = `${PATH}${at}?offset=-1`
    await ask(address)
    await ask(address)
    assert.equal(asked.length, expected, `${status} ${rule}`)
  }
})

test("the origin is asked for the whole, whatever the reader has", async () => {
  await ask(`${PATH}?offset=-1`, { headers: { "If-None-Match": '"1:0:4"', Range: "bytes=0-1" } })
  assert.equal(asked[0].headers.get("if-none-match"), null)
  assert.equal(asked[0].headers.get("range"), null)
})

test("what lies beside the streams is nobody's business", async () => {
  assert.equal((await ask("/health")).status, 404)
  assert.equal(asked.length, 0)
})
