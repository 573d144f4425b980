// Yjs: the package's own server keeps documents in our streams, and providers edit them together.
import assert from "node:assert/strict"
import { after, afterEach, before, beforeEach, describe, mock, test } from "node:test"
import { DurableStream, stream } from "@durable-streams/client"
import { YjsProvider } from "@durable-streams/y-durable-streams"
import { YjsServer } from "@durable-streams/y-durable-streams/server"
import { Awareness } from "y-protocols/awareness"
import * as Y from "yjs"
import { LIMIT, over, startServer } from "./server.mjs"
import { until, within } from "./wait.mjs"

const SERVICE = "test"
// After so many bytes of updates the Yjs server writes a snapshot, from which later readers begin.
const COMPACTION_BYTES = 1024
const EDITS = 60
// The Yjs server never ends its event stream if ours breaks in the middle, so there ours ends in order.
const CASES = [
  { liveMode: "sse", signal: "SIGTERM" },
  { liveMode: "long-poll", signal: "SIGKILL" },
]

describe("Yjs", LIMIT, () => {
  let server
  let yjs
  let complaints
  before(async () => {
    server = await startServer("yjs")
    yjs = await startYjs(server)
  })
  after(async () => {
    await yjs?.stop()
    await server?.end()
  })
  // The Yjs server talks of each compaction and of each request that it can't pass on.
  beforeEach(() => {
    mock.method(console, "log", () => {})
    complaints = mock.method(console, "error", () => {}).mock
  })
  afterEach(() => mock.restoreAll())

  for (const { liveMode, signal } of CASES) {
    test(`a document that several edit by ${liveMode} is equal, over compactions and ${over(signal)}`, async (t) => {
      const docId = `books/${liveMode}`
      const [ann, bob] = [await open(t, yjs, docId, liveMode), await open(t, yjs, docId, liveMode)]
      const first = await edit([ann, bob], "before")
      await haveWords([ann, bob], first)
      await until("two compactions", async () => (await snapshots(server, docId)).length >= 2)
      const cleo = await open(t, yjs, docId, liveMode)
      await haveWords([ann, bob, cleo], first)

      await server.interrupt(signal)
      const earlier = await snapshots(server, docId)
      const second = await edit([bob, cleo], "after")
      await haveWords([ann, bob, cleo], [...first, ...second])
      await until("a compaction afterwards", async () => (await snapshots(server, docId)).length > earlier.length)

      // Another Yjs server remembers nothing: all that it knows of the document is in streams.
      const another = await startYjs(server)
      t.after(() => another.stop())
      const dora = await open(t, another, docId, liveMode)
      await haveWords([ann, bob, cleo, dora], [...first, ...second])
      const unexpected = complaints.calls.map(({ arguments: [, error] }) => error)
      assert.deepEqual(unexpected.filter((error) => !(error instanceof TypeError)), [], "not for want of a connection")
    })
  }

  test("each of two sees where the other one is, and when it is gone", async (t) => {
    const [ann, bob] = [await open(t, yjs, "presence", "sse", true), await open(t, yjs, "presence", "sse", true)]
    const sees = (one, other) => one.awareness.getStates().get(other.doc.clientID)?.at
    for (const at of ["page 1", "page 2"]) {
      // A reader of presence begins at the present, which the other one's first words may precede.
      await until(`each at ${at}`, () => {
        for (const provider of [ann, bob]) provider.awareness.setLocalStateField("at", at)
        return sees(ann, bob) === at && sees(bob, ann) === at
      })
    }
    await ann.disconnect()
    await until("that one is gone", () => !bob.awareness.getStates().has(ann.doc.clientID))
    assert.deepEqual(complaints.calls.flatMap((call) => call.arguments), [])
  })
})

async function startYjs(server) {
  const yjs = new YjsServer({ dsServerUrl: server.origin, compactionThreshold: COMPACTION_BYTES })
  await yjs.start()
  return yjs
}

/** Opens a document and waits until it is there. */
async function open(t, yjs, docId, liveMode, withAwareness = false) {
  const doc = new Y.Doc()
  const awareness = withAwareness ? new Awareness(doc) : undefined
  const provider = new YjsProvider({ doc, awareness, baseUrl: `${yjs.url}/v1/yjs/${SERVICE}`, docId, liveMode })
  t.after(async () => {
    await provider.disconnect()
    provider.destroy()
    doc.destroy()
  })
  await until(`the document ${docId}`, () => provider.synced)
  return provider
}

/** Has each provider write words, in turns, in requests of their own. */
async function edit(providers, prefix) {
  const words = []
  for (let n = 0; n < EDITS; n++) {
    for (const [who, provider] of providers.entries()) {
      const word = `${prefix}-${who}-${n}`
      provider.doc.getText("text").insert(0, `${word} `)
      words.push(word)
      await within(`the storage of ${word}`, provider.flush())
    }
  }
  return words
}

/** Waits until all have the same text, which is made of these words, each once. */
async function haveWords(providers, expected) {
  const texts = () => providers.map(({ doc }) => doc.getText("text").toString())
  const words = (text) => text.split(" ").slice(0, -1)
  const done = () => texts().every((text) => text === texts()[0] && words(text).length >= expected.length)
  await until(`${expected.length} words`, done, () => `(they have ${texts().map((text) => words(text).length)})`)
  assert.deepEqual(words(texts()[0]).sort(), [...expected].sort())
}

/** What the Yjs server noted of its snapshots of a document, the last one of which it uses. */
async function snapshots(server, docId) {
  const url = server.url(`yjs/${SERVICE}/docs/${docId}/.index`)
  if (!(await DurableStream.head({ url })).exists) return []
  const response = await stream({ url })
  return response.json()
}
