// The transport for TanStack AI: a chat's session is one stream of chunks, which pages begin with a snapshot of.
import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { DurableStream } from "@durable-streams/client"
import {
  durableStreamConnection,
  materializeSnapshotFromDurableStream,
  toDurableChatSessionResponse,
} from "@durable-streams/tanstack-ai-transport"
import { serveApp } from "./app.mjs"
import { KINDS, Reader } from "./messages.mjs"
import { LIMIT, over, startServer } from "./server.mjs"
import { gate, until, within } from "./wait.mjs"

const WORDS = 100

describe("TanStack AI's transport", LIMIT, () => {
  let server
  // With chunks of the usual size: the transport reads a snapshot with `live: false`, which is a single response.
  before(async () => (server = await startServer("tanstack", [])))
  after(() => server?.end())

  test(`pages that come early, late and rendered elsewhere show the same chat, ${over("SIGTERM")}`, async (t) => {
    const chat = await startChat(t, server, "pages")
    await chat.ask("one")
    const early = new Page(t, chat.connect())
    await early.shows(conversation("one"))
    // What an application does that renders a page itself: it sends the messages, and the offset after them.
    const { messages, offset } = await materializeSnapshotFromDurableStream({ readUrl: chat.url })
    assert.deepEqual(messages.map(textOf), conversation("one"))
    const rendered = new Page(t, chat.connect(offset), messages)

    await chat.ask("two")
    await server.interrupt("SIGTERM")
    await chat.ask("three")
    const late = new Page(t, chat.connect())
    for (const page of [early, rendered, late]) await page.shows(conversation("one", "two", "three"))
    assert.equal(rendered.snapshots, 0, "it has the messages already")
  })

  test(`pages show all of an answer, joined and resumed in its middle, ${over("SIGKILL")}`, async (t) => {
    const chat = await startChat(t, server, "resumed")
    chat.secondHalf = gate()
    await chat.ask("one")
    const [question, answer] = conversation("one")
    const half = [question, answer.slice(0, answer.length / 2)]
    const early = new Page(t, chat.connect())
    await early.shows(half)

    const { messages, offset } = await materializeSnapshotFromDurableStream({ readUrl: chat.url })
    assert.deepEqual(messages.map(textOf), half)
    await server.interrupt("SIGKILL")
    const resumed = new Page(t, chat.connect(offset), messages)
    chat.secondHalf.open()
    await within("the last write of the answer", chat.written)
    const late = new Page(t, chat.connect())
    for (const page of [early, resumed, late]) await page.shows([question, answer])
  })

  // The URL of a run as TanStack's adapter for production makes it: the id is escaped, its slash included.
  test(`a stream with an escaped slash in its name is created, appended to and read, ${over("SIGKILL")}`, async (t) => {
    const [kind] = KINDS
    const url = server.url(`streams/${encodeURIComponent("runs/7")}`)
    const handle = await DurableStream.create({ url, contentType: kind.contentType })
    const reader = new Reader(t, kind, url, { live: "sse" })
    for (let n = 0; n < 5; n++) await handle.append(kind.message(n))
    await reader.has(5)
    await server.interrupt("SIGKILL")
    for (let n = 5; n < 10; n++) await handle.append(kind.message(n))
    await handle.close()
    await reader.hasExactly(0, 10)
    assert.equal((await DurableStream.head({ url: server.url("streams/runs/7") })).streamClosed, true)
  })
})

/** An application with one chat, whose model answers a word with many; in the middle it waits for `secondHalf`, if set. */
async function startChat(t, server, name) {
  const chat = { url: server.url(`chat/${name}`) }
  const origin = await serveApp(t.after.bind(t), async (request) => {
    const { messages } = await request.json()
    const newMessages = messages.slice(-1)
    const responseStream = answer(newMessages[0].id, chat.secondHalf)
    const waitUntil = (written) => (chat.written = written)
    return toDurableChatSessionResponse({ stream: { writeUrl: chat.url }, newMessages, responseStream, waitUntil })
  })
  const sendUrl = `${origin}/api/chat`
  chat.connect = (initialOffset) => durableStreamConnection({ sendUrl, readUrl: chat.url, initialOffset })
  chat.ask = async (word) => {
    await chat.connect().send([{ id: word, role: "user", parts: [{ type: "text", content: `Say ${word}.` }] }])
    if (!chat.secondHalf) await within("the last write of the answer", chat.written)
  }
  return chat
}

/** The chunks of a model's answer. `content` is all so far, which the transport doesn't store. */
async function* answer(word, secondHalf) {
  const message = { messageId: `answer to ${word}`, model: "parrot", timestamp: 0 }
  yield { type: "TEXT_MESSAGE_START", role: "assistant", ...message }
  const delta = `${word} 🌊 `
  for (let n = 0; n < WORDS; n++) {
    if (n === WORDS / 2) await secondHalf?.opened
    yield { type: "TEXT_MESSAGE_CONTENT", delta, content: delta.repeat(n + 1), ...message }
  }
  yield { type: "TEXT_MESSAGE_END", ...message }
}

/** The texts of a chat in which these words were asked for. */
function conversation(...words) {
  return words.flatMap((word) => [`Say ${word}.`, `${word} 🌊 `.repeat(WORDS)])
}

function textOf({ parts }) {
  return parts.map(({ content }) => content).join("")
}

/** What a user has open: the messages, put together from the chunks. */
class Page {
  constructor(t, connection, messages = []) {
    this.messages = new Map(messages.map((message) => [message.id, textOf(message)]))
    this.snapshots = 0
    const aborter = new AbortController()
    t.after(() => aborter.abort())
    this.#read(connection, aborter.signal).catch((error) => (this.error = error))
  }

  async #read(connection, signal) {
    while (!signal.aborted) {
      try {
        for await (const chunk of connection.subscribe(signal)) this.#apply(chunk)
      } catch (error) {
        // A broken connection: the next subscription goes on after the last batch.
        if (!(error instanceof TypeError)) throw error
      }
    }
  }

  #apply({ type, messageId, delta, messages }) {
    if (type === "MESSAGES_SNAPSHOT") {
      this.snapshots += 1
      this.messages = new Map(messages.map((message) => [message.id, textOf(message)]))
    } else if (type === "TEXT_MESSAGE_START") {
      assert.ok(!this.messages.has(messageId), `${messageId} begins twice`)
      this.messages.set(messageId, "")
    } else if (type === "TEXT_MESSAGE_CONTENT") {
      this.messages.set(messageId, this.messages.get(messageId) + delta)
    }
  }

  /** Waits until the page has so much text, and checks that it is this one. */
  async shows(texts) {
    const length = (texts) => texts.join("").length
    const shown = () => [...this.messages.values()]
    const enough = () => {
      if (this.error) throw this.error
      return length(shown()) >= length(texts)
    }
    await until(`${length(texts)} letters`, enough, () => `(${length(shown())} came)`)
    assert.deepEqual(shown(), texts)
  }
}
