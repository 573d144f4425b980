// The transport for the Vercel AI SDK: a model's answer is written to a stream, which any number of pages read.
import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { createDurableChatTransport, toDurableStreamResponse } from "@durable-streams/aisdk-transport"
import { DurableStream } from "@durable-streams/client"
import { createUIMessageStream, readUIMessageStream } from "ai"
import { serveApp } from "./app.mjs"
import { LIMIT, over, startServer } from "./server.mjs"
import { gate, until, within } from "./wait.mjs"

const WORDS = Array.from({ length: 200 }, (_, n) => `word-${n}-🌊 `)
const HALF = WORDS.length / 2
const QUESTION = { id: "question", role: "user", parts: [{ type: "text", text: "Say 200 words." }] }

describe("the AI SDK's transport", LIMIT, () => {
  let server
  before(async () => (server = await startServer("aisdk")))
  after(() => server?.end())

  test(`a second page joins a run in its middle and both show all of it, ${over("SIGTERM")}`, async (t) => {
    const chat = await startChat(t, server, "joined")
    const asking = new Page(chat.transport)
    await asking.ask()
    await asking.shows(HALF)

    const joining = new Page(chat.transport)
    await joining.join()
    await joining.shows(HALF)
    // Both read events, and the writer waits: a good moment to update the server.
    await server.interrupt("SIGTERM")
    chat.secondHalf.open()
    for (const page of [asking, joining]) {
      await within("the end of the run", page.end)
      assert.equal(page.text, WORDS.join(""))
    }
    await within("the last write of the run", chat.written)
    const head = await DurableStream.head({ url: server.url(chat.path) })
    assert.deepEqual([head.contentType, head.streamClosed], ["application/json", true])
  })

  test("a page that joins when nothing runs is told so", async (t) => {
    const chat = await startChat(t, server, "idle")
    assert.equal(await chat.transport.reconnectToStream({ chatId: "chat" }), null)
  })

  test(`a run that is over can be read again, ${over("SIGKILL")}`, async (t) => {
    const chat = await startChat(t, server, "kept")
    chat.secondHalf.open()
    const asking = new Page(chat.transport)
    await asking.ask()
    await within("the end of the run", asking.end)
    await within("the last write of the run", chat.written)

    await server.interrupt("SIGKILL")
    const late = new Page(chat.transport)
    await late.join()
    await within("the end of the run, read again", late.end)
    assert.equal(late.text, WORDS.join(""))
    assert.deepEqual(late.message, asking.message)
  })
})

/** An application with one chat, whose model stops in the middle of its answer until `secondHalf` is opened. */
async function startChat(t, server, name) {
  const chat = { path: `chat/${name}/run`, secondHalf: gate(), active: false }
  const origin = await serveApp(t.after.bind(t), async (request) => {
    const url = server.url(chat.path)
    if (request.method === "GET") {
      if (!chat.active) return new Response(null, { status: 204 })
      return Response.json({ streamUrl: url }, { headers: { Location: url } })
    }
    const { messages } = await request.json()
    assert.deepEqual(messages, [QUESTION])
    chat.active = true
    const waitUntil = (written) => (chat.written = written)
    return toDurableStreamResponse({ source: answer(chat.secondHalf), stream: { writeUrl: url }, waitUntil })
  })
  chat.transport = createDurableChatTransport({ api: `${origin}/api/chat` })
  return chat
}

/** What a model's answer is turned into for a page. */
function answer(secondHalf) {
  return createUIMessageStream({
    async execute({ writer }) {
      writer.write({ type: "start", messageId: "answer" })
      writer.write({ type: "text-start", id: "text" })
      for (const [n, delta] of WORDS.entries()) {
        if (n === HALF) await secondHalf.opened
        writer.write({ type: "text-delta", id: "text", delta })
      }
      writer.write({ type: "text-end", id: "text" })
      writer.write({ type: "finish" })
    },
  })
}

/** What a user has open: the message as the AI SDK puts it together. */
class Page {
  constructor(transport) {
    this.transport = transport
  }

  async ask() {
    const request = { trigger: "submit-message", chatId: "chat", messages: [QUESTION] }
    this.#show(await this.transport.sendMessages(request))
  }

  async join() {
    const chunks = await this.transport.reconnectToStream({ chatId: "chat" })
    assert.ok(chunks, "nothing runs")
    this.#show(chunks)
  }

  #show(chunks) {
    const read = async () => {
      for await (const message of readUIMessageStream({ stream: chunks, terminateOnError: true })) this.message = message
    }
    this.end = read()
    this.end.catch((error) => (this.error = error))
  }

  get text() {
    return this.message?.parts.map((part) => part.text).join("") ?? ""
  }

  shows(count) {
    const enough = () => {
      if (this.error) throw this.error
      return this.text === WORDS.slice(0, count).join("")
    }
    return until(`${count} words`, enough, () => `(${this.text.split(" ").length - 1} came)`)
  }
}
