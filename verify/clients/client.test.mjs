// The official client: all that it does with streams of each type, and writers and readers over restarts.
import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"
import { subscribe } from "./follow.mjs"
import { KINDS, Reader, eachOnce } from "./messages.mjs"
import { LIMIT, durable, over, startServer } from "./server.mjs"
import { until, within } from "./wait.mjs"

const LIVE = ["sse", "long-poll"]
const MESSAGES = 10_000
// Small, so that there are hundreds of requests, of which some are under way whenever the server is killed.
const BATCH_BYTES = 512
const RETRY_MS = 20

describe("the official client", LIMIT, () => {
  let server
  before(async () => (server = await startServer("client")))
  after(() => server?.end())

  for (const kind of KINDS) {
    test(`a stream of ${kind.name} is created, appended to, read, followed and closed`, async (t) => {
      const { contentType, message } = kind
      const url = server.url(`life/${kind.name}`)
      const handle = await DurableStream.create({ url, contentType })
      await handle.append(message(0))
      await handle.append(message(1))

      const head = await handle.head()
      assert.deepEqual([head.exists, head.contentType, head.streamClosed], [true, contentType, false])
      eachOnce(await readAll(kind, { url }), 0, 2)

      const readers = LIVE.map((live) => new Reader(t, kind, url, { live }))
      await Promise.all(readers.map((reader) => reader.has(2)))
      await handle.append(message(2))
      await Promise.all(readers.map((reader) => reader.has(3)))
      const { finalOffset } = await handle.close({ body: message(3) })
      await Promise.all(readers.map((reader) => reader.hasExactly(0, 4)))

      const closed = await DurableStream.head({ url })
      assert.deepEqual([closed.offset, closed.streamClosed], [finalOffset, true])
      await assert.rejects(handle.append(message(4)), { status: 409 })
      await handle.delete()
      assert.equal((await DurableStream.head({ url })).exists, false)
    })

    test(`10,000 messages of ${kind.name} by an idempotent producer are read once each, ${over("SIGKILL")}`, async (t) => {
      const { contentType, message } = kind
      const url = server.url(`producer/${kind.name}`)
      const handle = await DurableStream.create({ url, contentType })
      const errors = []
      const onError = (error) => errors.push(error)
      const options = { maxBatchBytes: BATCH_BYTES, fetch: patientFetch, onError }
      const producer = new IdempotentProducer(handle, "writer", options)
      const readers = LIVE.map((live) => new Reader(t, kind, url, { live }))

      for (let n = 0; n < MESSAGES; n++) producer.append(message(n))
      await Promise.all(readers.map((reader) => reader.has(MESSAGES / 10)))
      const interrupted = server.interrupt("SIGKILL")
      assert.ok(producer.inFlightCount > 0, "the producer was done before the server was killed")
      await interrupted
      await within("the end of the producer", producer.close())

      assert.deepEqual(errors, [])
      await Promise.all(readers.map((reader) => reader.hasExactly(0, MESSAGES)))
      eachOnce(await readAll(kind, { url }), 0, MESSAGES)
      const unaware = readers.filter((reader) => durable && reader.failures === 0).map((reader) => reader.live)
      assert.deepEqual(unaware, [], "readers that noticed no restart")
    })

    test(`a reader of ${kind.name} resumes from an offset that it saved, ${over("SIGKILL")}`, async (t) => {
      const { contentType, message } = kind
      const url = server.url(`resume/${kind.name}`)
      const handle = await DurableStream.create({ url, contentType })
      for (let n = 0; n < 40; n++) await handle.append(message(n))
      const saved = (await DurableStream.head({ url })).offset
      for (let n = 40; n < 70; n++) await handle.append(message(n))

      await server.interrupt("SIGKILL")
      eachOnce(await readAll(kind, { url, offset: saved }), 40, 30)
      const readers = LIVE.map((live) => new Reader(t, kind, url, { live, offset: saved }))
      await Promise.all(readers.map((reader) => reader.has(30)))
      for (let n = 70; n < 100; n++) await handle.append(message(n))
      await handle.close()
      await Promise.all(readers.map((reader) => reader.hasExactly(40, 60)))
    })
  }

  test("mistakes are refused and change nothing", async () => {
    const url = server.url("mistakes")
    await assert.rejects(stream({ url }), { status: 404 })
    const handle = await DurableStream.create({ url, contentType: "application/json" })
    await assert.rejects(DurableStream.create({ url, contentType: "text/plain" }), { status: 409 })
    await handle.append('{"n":0}', { seq: "b" })
    await assert.rejects(handle.append('{"n":1}', { seq: "a" }), { status: 409 })
    await assert.rejects(handle.append("no JSON"), { status: 400 })
    eachOnce(await readAll(KINDS[0], { url }), 0, 1)
  })

  test(`a producer that begins anew claims its epoch and fences the old one, ${over("SIGKILL")}`, async () => {
    const [kind] = KINDS
    const url = server.url("fencing")
    const handle = await DurableStream.create({ url, contentType: kind.contentType })
    const writer = (options) => new IdempotentProducer(handle, "writer", { fetch: patientFetch, ...options })
    const old = writer()
    old.append(kind.message(0))
    await old.flush()
    await server.interrupt("SIGKILL")

    const anew = writer({ epoch: 1 })
    anew.append(kind.message(1))
    await anew.flush()
    const refused = []
    const fenced = writer({ onError: (error) => refused.push(error.name) })
    fenced.append(kind.message(99))
    await fenced.flush()
    assert.deepEqual(refused, ["StaleEpochError"])
    const claiming = writer({ autoClaim: true })
    claiming.append(kind.message(2))
    await claiming.close(kind.message(3))
    assert.equal(claiming.epoch, 2)
    eachOnce(await readAll(kind, { url }), 0, 4)
  })

  if (durable) {
    test("live readers get over an orderly restart by themselves", async () => {
      const [kind] = KINDS
      const url = server.url("orderly")
      const handle = await DurableStream.create({ url, contentType: kind.contentType })
      const sessions = []
      for (const live of LIVE) {
        const response = await stream({ url, live })
        const session = { live, response, all: kind.empty() }
        subscribe(response, (batch) => (session.all = kind.add(session.all, batch)))
        sessions.push(session)
      }
      const have = (count) =>
        until(`${count} messages in each session`, () => sessions.every(({ all }) => all.length >= count))

      for (let n = 0; n < 10; n++) await handle.append(kind.message(n))
      await have(10)
      await server.interrupt("SIGTERM")
      for (let n = 10; n < 20; n++) await handle.append(kind.message(n))
      await have(20)
      await handle.close()
      for (const session of sessions) {
        await within(`the end of the session by ${session.live}`, session.response.closed)
        assert.equal(session.response.streamClosed, true, session.live)
        eachOnce(session.all, 0, 20)
      }
    })
  }
})

/** The producer makes sure that nothing is stored twice; that nothing is lost is up to its fetch, which has to try again. */
async function patientFetch(...request) {
  for (;;) {
    try {
      return await fetch(...request)
    } catch {
      await sleep(RETRY_MS)
    }
  }
}

/**
 * The numbers of the messages that are there now. Not with `live: false`: so the client reads a single response, which is
 * all only of a stream that is shorter than a chunk.
 */
async function readAll(kind, options) {
  const response = await stream(options)
  if (kind.name === "JSON") return (await response.json()).map(({ n }) => n)
  return kind.numbers(kind.name === "text" ? await response.text() : Buffer.from(await response.body()))
}
