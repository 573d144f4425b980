// The State Protocol: a StreamDB has the rows that other clients write, and goes on having them over restarts.
import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { DurableStream, stream } from "@durable-streams/client"
import { createStateSchema, createStreamDB } from "@durable-streams/state/db"
import { LIMIT, SMALL_CHUNKS, over, startServer } from "./server.mjs"
import { until, within } from "./wait.mjs"

// Every value is valid: what is tested is the way of the rows.
const anything = { "~standard": { version: 1, vendor: "headwater", validate: (value) => ({ value }) } }
const state = createStateSchema({
  users: { schema: anything, type: "user", primaryKey: "id" },
  notes: { schema: anything, type: "note", primaryKey: "id" },
})
// A StreamDB gives up when an event stream breaks in the middle, so that one gets an orderly end.
const CASES = [
  { live: "sse", signal: "SIGTERM" },
  { live: "long-poll", signal: "SIGKILL" },
]

describe("the State Protocol's client", LIMIT, () => {
  let server
  before(async () => (server = await startServer("state", [...SMALL_CHUNKS, "--state-offsets"])))
  after(() => server?.end())

  for (const { live, signal } of CASES) {
    test(`a StreamDB follows inserts, updates and deletes by ${live} ${over(signal)}`, async (t) => {
      const url = server.url(`state/${live}`)
      const writer = new Writer(await DurableStream.create({ url, contentType: "application/json" }))
      await writer.insert(0, 50)
      await writer.change(0, 10)
      const db = open(t, url, live)
      await within("the rows that were there before", db.preload())
      writer.isShownBy(db)

      await writer.insert(50, 80)
      await writer.change(10, 20)
      await until("the rows written before", () => writer.isFollowedBy(db))
      await server.interrupt(signal)
      await writer.insert(80, 100)
      await writer.change(40, 60)
      await until("the rows written afterwards", () => writer.isFollowedBy(db))
      writer.isShownBy(db)

      const another = open(t, url, live)
      await within("the rows, in another StreamDB", another.preload())
      writer.isShownBy(another)
      assert.equal(another.offset, db.offset)
    })
  }

  test("every event has the offset after its append, where a fork can begin", async () => {
    const url = server.url("state/offsets")
    const writer = await DurableStream.create({ url, contentType: "application/json" })
    const event = (id) => state.users.insert({ value: { id } })
    await writer.append(JSON.stringify(event("a")))
    // The client's `append` sends each value alone.
    const batch = { body: JSON.stringify([event("b"), event("c")]), headers: { "Content-Type": "application/json" } }
    assert.equal((await fetch(url, { method: "POST", ...batch })).status, 204)
    await writer.append(JSON.stringify(event("d")))
    const tail = (await writer.head()).offset
    for (const live of ["long-poll", "sse"]) {
      const events = await first(4, { url, live })
      const [a, b, c, d] = events.map(({ headers }) => headers.offset)
      assert.equal(b, c)
      assert.ok(a < b && b < d && d === tail, `${a} ${b} ${d} ${tail}`)
      assert.deepEqual((await first(1, { url, live, offset: b })).map(({ key }) => key), ["d"])

      const fork = server.url(`state/fork-${live}`)
      const headers = { "Stream-Forked-From": new URL(url).pathname, "Stream-Fork-Offset": b }
      assert.equal((await fetch(fork, { method: "PUT", headers })).status, 201)
      const inherited = await (await stream({ url: fork, live: false })).json()
      assert.deepEqual(inherited.map(({ key, headers }) => [key, headers.offset]), [["a", a], ["b", b], ["c", b]])
    }
  })

  test(`an optimistic action is confirmed through the stream, ${over("SIGKILL")}`, async (t) => {
    const url = server.url("state/actions")
    await DurableStream.create({ url, contentType: "application/json" })
    const actions = ({ db, stream }) => ({
      addUser: {
        onMutate: (user) => db.collections.users.insert(user),
        mutationFn: async (user) => {
          const txid = crypto.randomUUID()
          await stream.append(JSON.stringify(state.users.insert({ value: user, headers: { txid } })))
          await db.utils.awaitTxId(txid)
        },
      },
    })
    const db = open(t, url, "long-poll", actions)
    await within("an empty StreamDB", db.preload())
    for (const id of ["a", "b"]) {
      const transaction = db.actions.addUser({ id, name: "Ada" })
      assert.equal(db.collections.users.get(id).name, "Ada", "shown at once")
      await within(`the confirmation of ${id}`, transaction.isPersisted.promise)
      await server.interrupt("SIGKILL")
    }
    const another = open(t, url, "long-poll")
    await within("the rows, in another StreamDB", another.preload())
    assert.deepEqual([...another.collections.users.keys()].sort(), ["a", "b"])
  })
})

/** The first so many messages of a live read. */
async function first(count, options) {
  const reader = (await within("a response", stream(options))).jsonStream().getReader()
  const messages = []
  while (messages.length < count) messages.push((await within(`message ${messages.length}`, reader.read())).value)
  await reader.cancel()
  return messages
}

function open(t, url, live, actions) {
  const streamOptions = { url, contentType: "application/json" }
  const db = createStreamDB({ streamOptions, state, live, actions })
  t.after(() => db.close())
  return db
}

/** Another client, which writes events and knows the rows that they lead to. */
class Writer {
  constructor(handle) {
    this.handle = handle
    this.users = new Map()
    this.notes = new Map()
  }

  append(event) {
    return this.handle.append(JSON.stringify(event))
  }

  /** Users from `first` on, and a note of each. */
  async insert(first, end) {
    for (let n = first; n < end; n++) {
      const [user, note] = [{ id: `user-${n}`, name: `name ${n}` }, { id: `note-${n}`, text: `Grüße 🌊 ${n}` }]
      this.users.set(user.id, user)
      this.notes.set(note.id, note)
      await this.append(state.users.insert({ value: user }))
      await this.append(state.notes.upsert({ value: note }))
    }
  }

  /** Renames every second user from `first` on, and deletes the others. */
  async change(first, end) {
    for (let n = first; n < end; n++) {
      const id = `user-${n}`
      if (n % 2 === 0) {
        const user = { id, name: `renamed ${n}` }
        this.users.set(id, user)
        await this.append(state.users.update({ value: user }))
      } else {
        this.users.delete(id)
        await this.append(state.users.delete({ key: id }))
      }
    }
  }

  isFollowedBy(db) {
    return this.lines().join() === lines(db).join()
  }

  isShownBy(db) {
    assert.deepEqual(lines(db), this.lines())
  }

  lines() {
    return [...this.users.values(), ...this.notes.values()].map(line).sort()
  }
}

function lines({ collections }) {
  return [...collections.users.toArray, ...collections.notes.toArray].map(line).sort()
}

/** A row as a line, without what a StreamDB adds to it. */
function line({ id, name, text }) {
  return `${id}: ${name ?? text}`
}
